// The subject's own name in prompts, in place of the words that the model was taught.

const ARTICLES = new Set(["a", "an", "the", "my", "this", "that"]);
const PREPOSITIONS = new Set(["of", "in", "on", "with", "by", "at", "and", "to", "for", "as"]);

/** "a painting of Rex" -> "a painting of a {}"; the name has the article that the model was taught it with. */
export function template(words, name) {
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return words.replace(new RegExp(`(^|\\W)${escaped}(?=\\W|$)`, "giu"), (found, edge, at) => {
    const before = words.slice(0, at + edge.length).toLowerCase().split(/\s+/).filter(Boolean).reverse().slice(0, 4);
    for (const word of before) {
      if (ARTICLES.has(word)) return `${edge}{}`;
      if (PREPOSITIONS.has(word)) break;
    }
    return `${edge}a {}`;
  });
}

/** "a {} in the snow" -> "Rex in the snow". */
export const spoken = (idea, name) => idea.replace(/\ba \{\}/, name).replace("{}", name);

/** What a sample was asked for, as a person says it; of the class "any dog". */
export const sentence = (sample, view) => (sample.kind === "class" ? sample.template.replace(/\ba \{\}/, `any ${view.noun}`).replace("{}", view.noun) : spoken(sample.template, view.spoken));
