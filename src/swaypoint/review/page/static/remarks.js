// Comments, questions and answers: sent at once, as they are no verdicts to go on with.

import { post, toast, uuid } from "./page.js";

/** Call `then` with the point after a remark on it is kept; what was written stays until it is. */
export function remarking(then) {
  document.getElementById("main").addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-remark]");
    if (!button) return;
    const { item, to } = { ...button.closest("[data-item]")?.dataset, ...button.dataset };
    const field = button.closest("details").querySelector("textarea");
    const id = (field.dataset.sent ??= uuid()); // sent again it is the same one
    const text = field.value.trim();
    if (!text) return field.focus();
    button.disabled = true;
    const point = item ?? button.closest("[data-id]").dataset.id;
    const response = await post("/remarks", { id, item: point, kind: button.dataset.remark, text, to }).catch(() => null);
    button.disabled = false;
    if (!response?.ok) return toast((await response?.json().catch(() => null))?.error ?? "Not connected: nothing was sent; try again.");
    field.value = "";
    delete field.dataset.sent;
    then(point);
  });
}
