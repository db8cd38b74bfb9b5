// Enlarge, step slider, copy. The page is whole without it.
"use strict";
const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// A picture large: tap it, or press Enter on it; arrow keys go through those of its section.
const viewer = document.getElementById("viewer");
const [large, caption] = [make("img", { alt: "" }), viewer.querySelector("p")];
viewer.prepend(large);
let [shown, at] = [[], 0];
const look = (step) => {
  at = (at + step + shown.length) % shown.length;
  large.src = shown[at].src;
  large.alt = caption.textContent = shown[at].alt;
};
for (const image of document.querySelectorAll("main section img, main .hero img")) {
  const button = make("button", { type: "button", class: "open", "aria-label": `Enlarge: ${image.alt}` });
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    shown = [...button.closest("section, .hero").querySelectorAll("img")].filter((each) => each.getClientRects().length);
    at = shown.indexOf(image);
    look(0);
    viewer.showModal();
  });
}
viewer.addEventListener("click", (event) => {
  const does = event.target.dataset.go;
  if (does) look(Number(does)); else if (event.target !== large) viewer.close();
});
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") look(-1);
  if (event.key === "ArrowRight") look(1);
});

// Pictures of many steps: one step at a time, large; or all side by side, as they are without this.
for (const [number, group] of document.querySelectorAll(".steps").entries()) {
  const figures = [...group.querySelectorAll("figure[data-step]")];
  const steps = [...new Set(figures.map((figure) => Number(figure.dataset.step)))].sort((a, b) => a - b);
  if (steps.length < 2) continue;
  const chosen = steps.indexOf(Number(group.dataset.chosen));
  const slider = make("input", { type: "range", id: `step-${number}`, min: 0, max: steps.length - 1, value: chosen < 0 ? steps.length - 1 : chosen });
  const output = make("output", { for: slider.id });
  const all = make("button", { type: "button", "aria-pressed": "false" }, "All steps side by side");
  const move = () => {
    const side = all.getAttribute("aria-pressed") === "true";
    const step = steps[slider.value];
    output.textContent = `${step || "base model"}${step === Number(group.dataset.chosen) ? `, ${group.dataset.word}` : ""}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    slider.disabled = side;
    group.classList.toggle("one", !side);
    for (const figure of figures) figure.hidden = !side && Number(figure.dataset.step) !== step;
  };
  slider.addEventListener("input", move);
  all.addEventListener("click", () => { all.setAttribute("aria-pressed", String(all.getAttribute("aria-pressed") !== "true")); move(); });
  group.prepend(make("div", { class: "slide" }, make("label", { for: slider.id }, "Step"), slider, output, all));
  move();
}

// Code to take along.
for (const code of document.querySelectorAll("pre > code")) {
  const button = make("button", { type: "button", class: "copy" }, "Copy");
  const said = make("span", { class: "label", role: "status" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      said.textContent = "Selected: copy it by your keyboard";
    }
    setTimeout(() => { said.textContent = ""; }, 4000);
  });
  code.parentElement.after(make("p", { class: "copying" }, button, " ", said));
}
