/**
 * The interface that schema libraries have in common: a copy of Standard Schema V1 (https://standardschema.dev), as its
 * specification recommends, so that nothing has to be installed for it.
 */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What a schema finds: the value, or what is wrong with it. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** One thing that is wrong with a value. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema takes. */
export type InputOf<S extends StandardSchemaV1> = NonNullable<S["~standard"]["types"]>["input"];
/** What a schema makes of it. */
export type OutputOf<S extends StandardSchemaV1> = NonNullable<S["~standard"]["types"]>["output"];
