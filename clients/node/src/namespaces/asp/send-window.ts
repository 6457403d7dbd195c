/** How many ids of a sender the broker holds in a session, to tell a repetition from a new message. */
const HELD_IDS = 32;

/** The messages of one sender that are under way. */
interface Line {
  /** Fulfilled once the message before may be sent. */
  turn: Promise<unknown>;
  /** What the last messages have become of, by their number; a place is taken again when it is settled. */
  readonly settled: Promise<unknown>[];
  begun: number;
  open: number;
}

/**
 * Lets the messages of one sender in a session go in the order of the calls, and each only when that 32 before it is
 * answered. The broker holds 32 ids of a sender: so an id whose answer was lost with the connection is still held when it
 * comes again, and the message is said once.
 */
export class SendWindow {
  private readonly lines = new Map<string, Line>();

  /** Runs `send` when it is its turn. `wait` bounds the time until then. */
  async run<T>(session: string, sender: string, wait: (turn: Promise<unknown>) => Promise<unknown>, send: () => Promise<T>): Promise<T> {
    const key = `${session} ${sender}`;
    let line = this.lines.get(key);
    if (line === undefined) {
      line = { turn: Promise.resolve(), settled: [], begun: 0, open: 0 };
      this.lines.set(key, line);
    }
    const place = line.begun % HELD_IDS;
    const before = line.settled[place];
    const turn = before === undefined ? line.turn : line.turn.then(() => before);
    let settle = (): void => {};
    line.settled[place] = new Promise<void>((resolve) => (settle = resolve));
    line.turn = turn;
    line.begun += 1;
    line.open += 1;
    try {
      // The first ones need no turn of the event loop.
      if (before !== undefined || line.begun > HELD_IDS) await wait(turn);
      return await send();
    } finally {
      settle();
      line.open -= 1;
      if (line.open === 0) this.lines.delete(key);
    }
  }
}
