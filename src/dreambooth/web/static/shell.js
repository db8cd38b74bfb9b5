// What every page has: the button for a new subject.

import { post } from "./api.js";
import { $, toast } from "./dom.js";

export async function begin() {
  try {
    location.assign(`/drafts/${(await post("/api/drafts")).id}`);
  } catch (error) {
    toast(error.message);
  }
}

$("new").addEventListener("click", begin);
