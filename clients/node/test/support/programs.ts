import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";

const run = promisify(execFile);
/** What runs a program: this version of Node, unless the bench of runtimes says otherwise. */
export const RUNTIME = JSON.parse(process.env.NPAYLOAD_RUNTIME ?? JSON.stringify([process.execPath])) as [string, ...string[]];
export const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));

/** A folder where programs find the package as it is installed. */
export class ProgramFolder {
  private readonly started = new Set<ChildProcess>();

  private constructor(readonly path: string) {}

  static async make(): Promise<ProgramFolder> {
    const path = await mkdtemp(join(tmpdir(), "npayload-program-"));
    await mkdir(join(path, "node_modules", "@npayload"), { recursive: true });
    await symlink(PACKAGE, join(path, "node_modules", "@npayload", "node"), "dir");
    return new ProgramFolder(path);
  }

  /** Writes a program, in TypeScript or not, and names the file that Node runs. */
  async write(name: string, code: string): Promise<string> {
    const file = join(this.path, name.replace(/\.ts$/, ".mjs"));
    await writeFile(file, name.endsWith(".ts") ? withoutTypes(code) : code);
    return file;
  }

  /** Runs a program to its end, and returns what it printed; one that does not end is killed, which fails the test. */
  async run(file: string, url: string, args: readonly string[] = []): Promise<string> {
    const [binary, ...flags] = RUNTIME;
    const { stdout } = await run(binary, [...flags, file, ...args], { timeout: 30_000, cwd: this.path, env: { ...process.env, NPAYLOAD_URL: url } });
    return stdout.trim();
  }

  /** Starts a program that does not end by itself. */
  start(file: string, url: string, args: readonly string[] = []): ChildProcess {
    const [binary, ...flags] = RUNTIME;
    const child = spawn(binary, [...flags, file, ...args], { cwd: this.path, stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, NPAYLOAD_URL: url } });
    this.started.add(child);
    child.once("exit", () => this.started.delete(child));
    return child;
  }

  /** Removes the folder, and ends what a failed test has left running. */
  remove(): Promise<void> {
    for (const child of this.started) child.kill("SIGKILL");
    return rm(this.path, { recursive: true, force: true });
  }
}

/** The JavaScript of a program; its types are checked elsewhere. */
function withoutTypes(code: string): string {
  return ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } }).outputText;
}

/** What the compiler finds wrong in TypeScript programs that lie in the package only by name, under `strict`. */
export function typeErrors(programs: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(join(PACKAGE, "tsconfig.json"), ts.sys.readFile) as { config: object };
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, PACKAGE);
  // Names that a page only declares to show them.
  const relaxed: ts.CompilerOptions = { ...options, noUnusedLocals: false, noEmit: true };
  const files = new Map([...programs].map(([name, code]) => [join(PACKAGE, "examples", name), code]));
  const host = ts.createCompilerHost(relaxed);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, ...rest) => {
    const code = files.get(name);
    return code === undefined ? getSourceFile(name, ...rest) : ts.createSourceFile(name, code, ts.ScriptTarget.ES2022);
  };
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.readFile = (name) => files.get(name) ?? readFile(name);
  const program = ts.createProgram([...files.keys()], relaxed, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const line = file === undefined ? "" : file.text.slice(0, start).split("\n").length;
    const text = file?.text.split("\n")[Number(line) - 1] ?? "";
    return `${file?.fileName.split("/").at(-1)}:${line}: ${ts.flattenDiagnosticMessageText(messageText, " ")}: ${text.trim()}`;
  });
}
