// Saved views: the dialog of the filter bar, and what the page of all of them does.

import { post, toast, uuid } from "./page.js";

/** Send a change; its problem in words, or "". */
export async function change(body) {
  const response = await post("/views", { id: uuid(), ...body }).catch(() => null);
  if (response?.ok) return "";
  return (await response?.json().catch(() => null))?.error ?? "Not connected: nothing was changed; try again.";
}

const dialog = document.getElementById("views");
document.getElementById("views-open")?.addEventListener("click", () => dialog.showModal());
document.getElementById("views-save")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = document.getElementById("views-name").value.trim();
  const { page, query } = dialog.dataset;
  const problem = await change({ do: "save", name, page, query });
  dialog.close();
  toast(problem || `Saved: ${name}`);
});
