"use strict";
// The scored image, with the boxes of a detection drawn over it. The browser turns it upright by EXIF, as the service
// does, so that their pixels are the same.

const picture = (() => {
  const SMALL = 200;
  const HUES = [212, 28, 145, 275, 350, 185, 50, 310];

  const isBox = (prediction) => "xmin" in prediction;

  /** Return a hue for each label, the same one for the same label. */
  function hues(predictions) {
    const labels = [...new Set(predictions.map((prediction) => prediction.label))];
    return new Map(labels.map((label, index) => [label, HUES[index % HUES.length]]));
  }

  function box(prediction, hue, fontSize) {
    const { xmin, ymin, xmax, ymax, label } = prediction;
    const color = `hsl(${hue} 85% 55%)`;
    const above = ymin > fontSize * 1.4;
    return dom.shape(
      "g",
      { class: "box" },
      dom.shape("rect", { x: xmin, y: ymin, width: xmax - xmin, height: ymax - ymin, stroke: color }),
      dom.shape(
        "text",
        { x: xmin + fontSize / 4, y: above ? ymin - fontSize / 3 : ymin + fontSize, "font-size": fontSize, fill: color },
        `${label} ${format.score(prediction.score)}`,
      ),
    );
  }

  /** Show the image at `address`; `size` is its width and height as the service saw it. */
  function show(address, size, predictions) {
    const image = dom.element("img", { src: address, alt: "The scored image", referrerpolicy: "no-referrer" });
    const frame = dom.element("div", { class: "picture" }, image);
    image.addEventListener("error", () => {
      frame.replaceChildren(dom.element("p", { class: "muted" }, "The browser cannot show this image."));
    });
    if (Math.max(size.width, size.height) < SMALL) frame.classList.add("small");
    const boxes = predictions.filter(isBox);
    if (boxes.length) {
      const colors = hues(boxes);
      const fontSize = Math.max(size.width, size.height) / 32;
      frame.append(
        dom.shape(
          "svg",
          { viewBox: `0 0 ${size.width} ${size.height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
          boxes.map((prediction) => box(prediction, colors.get(prediction.label), fontSize)),
        ),
      );
    }
    return frame;
  }

  /** Make one box stand out, or none for -1. */
  function highlight(frame, index) {
    frame.querySelectorAll(".box").forEach((node, position) => {
      node.classList.toggle("dimmed", index >= 0 && position !== index);
    });
  }

  return { show, highlight, isBox };
})();
