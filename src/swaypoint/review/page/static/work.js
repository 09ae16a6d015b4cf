// Exports and retrainings: started here, and how far they are, asked for every second while one runs.

import { post, toast, uuid } from "./page.js";
import { listen } from "./keys.js";
import "./palette.js";

const main = document.getElementById("main");
const told = document.getElementById("work-told");

/** The list as the server has it now; the forms keep what is filled in. */
async function refresh() {
  const response = await fetch("/work").catch(() => null);
  if (!response?.ok) return setTimeout(refresh, 3000);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const jobs = document.importNode(fresh.getElementById("jobs"), true);
  const stop = document.activeElement.closest("[data-stop]");
  document.getElementById("jobs").replaceWith(jobs);
  if (stop) jobs.querySelector("[data-stop]")?.focus();
  const running = "running" in fresh.getElementById("main").dataset;
  for (const button of main.querySelectorAll("form button")) button.disabled = running;
  if (!running) told.textContent = jobs.querySelector("li").textContent.replace(/\s+/g, " ");
  else setTimeout(refresh, 1000);
}

async function send(body) {
  const response = await post("/work", { id: uuid(), ...body }).catch(() => null);
  if (!response?.ok) toast((await response?.json().catch(() => null))?.error ?? "Not connected: nothing was started; try again.");
  refresh();
}

document.getElementById("export").addEventListener("submit", (event) => {
  event.preventDefault();
  const { to, policy, reviewers } = event.target.elements;
  send({ do: "export", to: to.value, policy: policy.value, reviewers: reviewers.checked });
});
document.getElementById("retrain").addEventListener("submit", (event) => {
  event.preventDefault();
  const { policy, seeds } = event.target.elements;
  send({ do: "retrain", policy: policy.value, seeds: Number(seeds.value) });
});
main.addEventListener("click", ({ target }) => target.closest("[data-stop]") && send({ do: "stop" }));
if ("running" in main.dataset) refresh();
listen({});
