/** Labels such as B-PER and I-PER follow BIO, or, with E and S (or L and U), IOBES; other labels among them, such as O, belong
 * to no span. A span goes on with I, M, E or L of its label; without such a span before them, they begin one, as conlleval
 * reads them. Labels without such prefixes are plain: consecutive tokens of one label are one span, and O belongs to none. */

// B-PER, I_LOC; E and S of IOBES, L and U of BILOU, M of BMES.
const PREFIXED = /^([BIESLUM])[-_]([^]+)$/;
// The label of a token that is of no span, and those that stand for no token.
const OUTSIDE = /^(O|<[^\n]*>|\[[^\n]*\]|pad)$/i;

/**
 * Labels such as B-PER and I-PER are of BIO, or, with E and S (or L and U), of IOBES; other labels among them, such as O, are of no
 * span. A span goes on with I, M, E or L of its label; where these stand behind no such span they begin one, as conlleval reads
 * them. Labels without such prefixes are plain: tokens of one label that follow each other are one span; O is of none.
 *
 * @param tags of one text, in their order.
 * @param text as it was given: a string, or the list of its tokens.
 * @returns [{ label, start, end, text }, ...]
 */
export function spansOf(tags, text) {
  const isPlain = !tags.some(({ label }) => PREFIXED.test(label));
  const found = [];
  let open;
  for (const { label, start, end } of tags) {
    const [prefix, rest] = splitLabel(label, isPlain);
    if (rest !== undefined && rest === open && "IMEL".includes(prefix)) found.at(-1).end = end;
    else if (rest !== undefined) found.push({ label: rest, start, end });
    open = "ESLU".includes(prefix) ? undefined : rest;
  }
  return found.map((span) => ({ ...span, text: Array.isArray(text) ? text.slice(span.start, span.end).join(" ") : text.slice(span.start, span.end) }));
}

/** Split a label into its prefix and the rest; the rest is undefined if the label belongs to no span. A plain label goes on. */
function splitLabel(label, isPlain) {
  if (isPlain) return ["I", OUTSIDE.test(label) ? undefined : label];
  const [, prefix, rest] = PREFIXED.exec(label) ?? [undefined, "O", undefined];
  return [prefix, rest];
}
