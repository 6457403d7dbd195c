/**
 * One page of a list. It is iterable itself: `for (const item of page)`.
 *
 * @example
 * ```ts
 * const page = await np.channels.list({ prefix: "ml." });
 * console.log(page.items.length, page.hasMore);
 * ```
 */
export class Page<T> implements Iterable<T> {
  constructor(
    /** The items of this page. */
    readonly items: readonly T[],
    /** Where the next page begins; undefined on the last one. */
    readonly cursor: string | undefined,
  ) {}

  /** Whether there is another page. */
  get hasMore(): boolean {
    return this.cursor !== undefined;
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.items[Symbol.iterator]();
  }
}

/**
 * A list that comes in pages: `await` it for the first one, or go through all of them with `for await`. Nothing is asked
 * for before.
 *
 * @example
 * ```ts
 * for await (const channel of np.channels.list()) console.log(channel.name);
 * ```
 */
export class Paged<T, P extends Page<T> = Page<T>> implements PromiseLike<P>, AsyncIterable<T> {
  private first: Promise<P> | undefined;

  /** @internal */
  constructor(
    private readonly load: (cursor: string | undefined) => Promise<P>,
    first?: P,
  ) {
    if (first !== undefined) this.first = Promise.resolve(first);
  }

  then<A = P, B = never>(
    onFulfilled?: ((page: P) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.first ??= this.load(undefined);
    return this.first.then(onFulfilled, onRejected);
  }

  /** As that of a promise of the first page. */
  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<P | B> {
    return this.then(undefined, onRejected);
  }

  /** As that of a promise of the first page. */
  finally(onSettled?: (() => void) | null): Promise<P> {
    return this.then().finally(onSettled);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    this.first ??= this.load(undefined);
    let page = await this.first;
    for (;;) {
      yield* page.items;
      if (page.cursor === undefined) return;
      page = await this.load(page.cursor);
    }
  }
}
