/** Version of this package, as it says it to the broker. */
export const VERSION = "0.1.0";
