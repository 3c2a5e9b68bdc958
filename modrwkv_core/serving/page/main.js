// Tabs, models and keys; chat and forecast have files of their own.

import { json, useKey } from "./api.js";
import { Chat } from "./chat.js";
import { Forecast } from "./forecast.js";

const byId = (id) => document.getElementById(id);
const tabs = [byId("tab-chat"), byId("tab-forecast")];
const select = byId("model");

function show(tab) {
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", String(chosen));
    each.tabIndex = chosen ? 0 : -1;
    byId(each.getAttribute("aria-controls")).hidden = !chosen;
  }
}

tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => show(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    show(next);
    next.focus();
  });
});

const chat = new Chat(() => select.value);
const forecast = new Forecast(() => select.value);

async function begin() {
  try {
    const { data } = await json("v1/models");
    select.replaceChildren(...data.map(({ id }) => new Option(id)));
    const models = new Map(data.map((model) => [model.id, model]));
    const use = async () => {
      const model = models.get(select.value);
      forecast.use(model);
      await chat.use(model);
    };
    select.onchange = use;
    byId("key-form").hidden = true;
    await use();
    if (location.hash === "#forecast") show(tabs[1]);
  } catch (error) {
    byId("key-form").hidden = error.status !== 401;
    if (error.status !== 401) chat.say(error.message, true);
    else byId("key").focus();
  }
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value);
  begin();
});

begin();
