// On the pages of the course: copies code, and shows where in the list of steps one is.

const steps = document.getElementById("steps");
const here = steps.querySelector("[aria-current]");
steps.scrollTop = here.offsetTop - steps.offsetTop - steps.clientHeight / 2;

const told = document.getElementById("told");
const SHOWN = 2000; // ms

async function copied(code) {
  if (navigator.clipboard) return navigator.clipboard.writeText(code.textContent);
  // Browsers have the clipboard for https and this machine's own address; elsewhere what is marked
  // can be copied.
  getSelection().selectAllChildren(code);
  if (!document.execCommand("copy")) throw new Error("The browser refuses to copy.");
}

for (const block of document.querySelectorAll(".code:not(.text)")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy the code");
  button.addEventListener("click", async () => {
    try {
      await copied(block.querySelector("code"));
      told.textContent = button.textContent = "Copied";
    } catch {
      told.textContent = button.textContent = "Not copied";
    }
    setTimeout(() => {
      told.textContent = "";
      button.textContent = "Copy";
    }, SHOWN);
  });
  block.append(button);
}
