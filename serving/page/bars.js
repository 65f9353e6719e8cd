// What an image model answers: the large label, a bar per class, and what the net sees.

import { $ } from "./server.js";

const MOST_BARS = 10;
const TEN = Array.from({ length: 10 }, (_, digit) => String(digit));
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/**
 * Shows what /api/classify returned for an image, null for none. Of many classes the likely ones have a
 * bar.
 */
export function answer(result, labels = TEN, digits = true) {
  let shares = labels.map((label) => [label, result?.probabilities[label] ?? 0]);
  if (result && labels.length > MOST_BARS) shares.sort((a, b) => b[1] - a[1]);
  shares = shares.slice(0, MOST_BARS);
  const bars = $("bars");
  const named = labels.some((label) => label.length > 1);
  bars.parentElement.classList.toggle("named", named);
  if (bars.children.length !== shares.length) bars.replaceChildren(...shares.map(newBar));
  shares.forEach(([label, share], i) => {
    const [name, track, number] = bars.children[i].children;
    name.textContent = name.title = label;
    track.firstChild.style.transform = `scaleX(${share})`;
    number.textContent = result ? percent(share) : "";
    bars.children[i].classList.toggle("best", label === result?.label);
  });
  const seen = $("seen");
  seen.hidden = !result?.seen;
  if (result?.seen) seen.src = result.seen;
  else $("seen-size").textContent = "";
  $("best-label").textContent = result?.label ?? "";
  $("best-share").textContent = result ? percent(result.confidence) : "";
  const area = digits ? "Drawing area" : "Image area";
  const what = digits ? `a ${result?.label}` : result?.label;
  $("pad").setAttribute("aria-label", result ? `${area}, it shows ${what}` : `${area}, empty`);
}

$("seen").addEventListener("load", () => {
  const { naturalWidth: width, naturalHeight: height } = $("seen");
  $("seen").alt = $("seen-size").textContent = `What the net sees: ${width} x ${height} pixels.`;
});

function newBar() {
  const row = document.createElement("li");
  const [name, track, number] = ["span", "div", "span"].map((tag) => document.createElement(tag));
  track.className = "track";
  track.append(Object.assign(document.createElement("div"), { className: "fill" }));
  number.className = "share";
  row.append(name, track, number);
  return row;
}
