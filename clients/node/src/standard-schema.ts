/**
 * The interface that schema libraries have in common: a copy of Standard Schema V1 (https://standardschema.dev), as its
 * specification recommends, so that nothing has to be installed for it.
 *
 * @example
 * ```ts
 * const schema: StandardSchemaV1<number> = z.number();
 * ```
 */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/**
 * What a schema finds: the value, or what is wrong with it.
 *
 * @example
 * ```ts
 * const result: StandardResult<number> = { value: 17 };
 * ```
 */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/**
 * One thing that is wrong with a value.
 *
 * @example
 * ```ts
 * const issue: StandardIssue = { message: "must be a number", path: ["id"] };
 * ```
 */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * What a schema takes.
 *
 * @example
 * ```ts
 * type Order = InputOf<(typeof schemas)["order.placed"]>;
 * ```
 */
export type InputOf<S extends StandardSchemaV1> = NonNullable<S["~standard"]["types"]>["input"];
/**
 * What a schema makes of it.
 *
 * @example
 * ```ts
 * type Order = OutputOf<(typeof schemas)["order.placed"]>;
 * ```
 */
export type OutputOf<S extends StandardSchemaV1> = NonNullable<S["~standard"]["types"]>["output"];
