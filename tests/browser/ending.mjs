// What is to be undone when a test, or a whole file, is over: the last that was begun first.

const undoing = new WeakMap();

// `t` is a test's context, or `{ after }` of node:test for a file. Everything is undone, whatever of it fails.
export function atEnd(t, undo) {
  if (!undoing.has(t)) {
    undoing.set(t, []);
    t.after(async () => {
      const failed = [];
      for (const step of undoing.get(t).reverse()) await step().catch((error) => failed.push(error));
      if (failed.length > 0) throw failed[0];
    });
  }
  undoing.get(t).push(async () => undo());
}
