// The common keys; and the random sample is drawn before its first point is shown.

import { post, toast, uuid } from "./page.js";
import { listen } from "./keys.js";
import "./palette.js";

document.querySelector("#sample[data-draw]")?.addEventListener("click", async (event) => {
  event.preventDefault();
  const { href } = event.currentTarget;
  try {
    const response = await post("/actions", { actions: [{ id: uuid(), do: "draw" }] });
    const answer = await response.json();
    const problem = answer.error ?? answer.results[0].error;
    if (problem) toast(problem);
    else location.assign(href);
  } catch {
    toast("Not connected: nothing was drawn; try again.");
  }
});
listen({});
