// A chat whose past is a session of the server: undo and fork cost nothing.

import { events, json } from "./api.js";
import { Recorder, kindOf, toPart } from "./media.js";

const byId = (id) => document.getElementById(id);

export class Chat {
  constructor(modelName) {
    this.modelName = modelName;
    this.model = null;
    this.branches = []; // {session, name, messages: [{role, text}]}
    this.attached = [];
    this.recorder = null;
    this.abort = null;

    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("question").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    });
    byId("files").addEventListener("change", ({ target }) => {
      [...target.files].forEach((file) => this.attach(file));
      target.value = "";
    });
    byId("question").addEventListener("paste", (event) => {
      [...event.clipboardData.files].forEach((file) => this.attach(file));
    });
    byId("record").addEventListener("click", () => this.guarded(() => this.record()));
    byId("stop").addEventListener("click", () => this.abort?.abort());
    byId("undo").addEventListener("click", () => this.guarded(() => this.undo()));
    byId("fork").addEventListener("click", () => this.guarded(() => this.fork()));
    byId("new").addEventListener("click", () => this.guarded(() => this.create()));
    byId("branch").addEventListener("change", ({ target }) => {
      this.current = target.selectedIndex;
      this.keep();
      this.draw();
    });
  }

  get branch() {
    return this.branches[this.current];
  }

  say(text, bad = false) {
    byId("status").textContent = text;
    byId("status").classList.toggle("bad", bad);
  }

  async guarded(work) {
    try {
      await work();
    } catch (error) {
      this.say(error.message, true);
    }
  }

  // Each browser has its own sessions, kept under the model's name.
  get place() {
    return `modrwkv-sessions-${this.model.id}`;
  }

  keep() {
    localStorage.setItem(this.place, JSON.stringify({ branches: this.branches, current: this.current }));
  }

  async use(model) {
    this.model = model;
    byId("record").disabled = !model.modalities.includes("audio");
    const kept = JSON.parse(localStorage.getItem(this.place) ?? '{"branches": [], "current": 0}');
    const known = await Promise.all(
      kept.branches.map(({ session }) =>
        json(`v1/sessions/${session}`).then(
          () => true,
          (error) => error.status !== 404, // a busy or unreachable server has them still
        ),
      ),
    );
    this.branches = kept.branches.filter((_, index) => known[index]);
    this.current = Math.min(kept.current, Math.max(this.branches.length - 1, 0));
    if (this.branches.length) this.draw();
    else await this.create();
  }

  async create() {
    const session = await json("v1/sessions", { method: "POST", body: { model: this.model.id } });
    const number = 1 + Math.max(0, ...this.branches.map(({ name }) => parseInt(name, 10) || 0));
    this.add({ session: session.id, name: String(number), messages: [] });
    byId("question").focus();
  }

  async fork() {
    const { session, name, messages } = this.branch;
    const copy = await json(`v1/sessions/${session}/fork`, { method: "POST" });
    this.add({ session: copy.id, name: `${name}'`, messages: structuredClone(messages) });
    this.say("This is a copy: the other branch stays as it is.");
  }

  async undo() {
    await json(`v1/sessions/${this.branch.session}/undo`, { method: "POST" });
    const { messages } = this.branch;
    const asked = messages.splice(messages.findLastIndex(({ role }) => role === "user"));
    this.keep();
    this.draw();
    byId("question").value = asked[0]?.text ?? "";
    this.say("Taken back.");
  }

  add(branch) {
    this.branches.push(branch);
    this.current = this.branches.length - 1;
    this.keep();
    this.draw();
    this.say("");
  }

  attach(file) {
    const kind = kindOf(file);
    if (!this.model.modalities.includes(kind)) {
      this.say(`${this.model.id} cannot take ${file.name}; it takes ${["text", ...this.model.modalities].join(", ")}.`, true);
      return;
    }
    this.attached.push(file);
    this.drawAttached();
    this.say(`${file.name} is attached.`);
  }

  drawAttached() {
    byId("attachments").replaceChildren(
      ...this.attached.map((file, index) => {
        const item = element("li", "", file.name);
        const remove = element("button", "", "×");
        remove.type = "button";
        remove.setAttribute("aria-label", `Remove ${file.name}`);
        remove.addEventListener("click", () => {
          this.attached.splice(index, 1);
          this.drawAttached();
        });
        item.append(remove);
        return item;
      }),
    );
  }

  async record() {
    const button = byId("record");
    if (this.recorder) {
      const recorder = this.recorder;
      this.recorder = null;
      button.setAttribute("aria-pressed", "false");
      button.textContent = "Record";
      byId("recorded").textContent = "";
      this.attach(await recorder.stop());
      return;
    }
    button.disabled = true; // until the browser has asked for permission
    try {
      this.recorder = await Recorder.start((seconds) => {
        if (this.recorder) byId("recorded").textContent = `${seconds} s`;
      });
      button.setAttribute("aria-pressed", "true");
      button.textContent = "Stop recording";
      this.say("Recording.");
    } finally {
      button.disabled = false;
      button.focus();
    }
  }

  async send() {
    if (this.recorder) await this.record(); // what was said is sent, too
    const question = byId("question").value.trim();
    if (this.abort || !(question || this.attached.length)) return;
    const branch = this.branch;
    const files = this.attached;
    this.abort = new AbortController();
    this.busy(true);
    const asked = show({ role: "user", text: question }, files);
    const answered = show({ role: "assistant", text: "" });
    const began = performance.now();
    let text = "";
    let usage = null;
    try {
      const parts = await Promise.all(files.map(toPart));
      const content = question ? [...parts, { type: "text", text: question }] : parts;
      const body = {
        model: this.model.id,
        session: branch.session,
        messages: [{ role: "user", content }],
        stream: true,
        stream_options: { include_usage: true },
      };
      for await (const event of events("v1/chat/completions", { method: "POST", body, signal: this.abort.signal })) {
        usage = event.usage ?? usage;
        const delta = event.choices[0]?.delta ?? {};
        if (delta.reasoning_content) answered.thought(delta.reasoning_content);
        text += delta.content ?? "";
        answered.text(text.trimStart());
      }
      branch.messages.push({ role: "user", text: question }, { role: "assistant", text: text.trim() });
      this.attached = [];
      this.drawAttached();
      byId("question").value = "";
      this.keep();
      const seconds = (performance.now() - began) / 1000;
      if (usage) this.say(`${usage.completion_tokens} tokens, ${(usage.completion_tokens / seconds).toFixed(1)} a second`);
    } catch (error) {
      const stopped = error.name === "AbortError";
      if (stopped && (await this.grew(branch))) {
        branch.messages.push({ role: "user", text: question }, { role: "assistant", text: text.trim() });
        this.keep();
      } else {
        asked.remove();
        answered.remove();
      }
      this.say(stopped ? "Stopped." : error.message, !stopped);
    } finally {
      this.abort = null;
      this.busy(false);
      byId("question").focus();
    }
  }

  // Whether an answer that was stopped joined the conversation: it does once the question was read.
  async grew({ session, messages }) {
    for (let trial = 0; trial < 10; trial++) {
      const { answers } = await json(`v1/sessions/${session}`);
      if (answers > messages.length / 2) return true;
      await new Promise((done) => setTimeout(done, 100));
    }
    return false;
  }

  busy(is) {
    for (const id of ["send", "undo", "fork", "new", "branch"]) byId(id).disabled = is;
    byId("stop").hidden = !is;
    byId("log").setAttribute("aria-busy", String(is));
    if (is) this.say("Answering.");
  }

  draw() {
    byId("branch").replaceChildren(...this.branches.map(({ name }) => new Option(name)));
    byId("branch").selectedIndex = this.current;
    byId("undo").disabled = !this.branch.messages.length;
    byId("log").replaceChildren();
    this.branch.messages.forEach((message) => show(message));
  }
}

function show({ role, text }, files = []) {
  const item = element("li", role);
  item.append(element("span", "who", role === "user" ? "You" : "Model"));
  for (const file of files) {
    const kind = kindOf(file);
    if (kind === "series") {
      item.append(element("span", "who", file.name));
      continue;
    }
    const medium = element(kind === "image" ? "img" : "audio");
    medium.src = URL.createObjectURL(file);
    if (kind === "image") medium.alt = file.name;
    else medium.controls = true;
    item.append(medium);
  }
  const thought = element("span", "thought");
  const words = element("span", "words", text);
  item.append(thought, words);
  byId("log").append(item);
  item.scrollIntoView({ block: "end" });
  return {
    remove: () => item.remove(),
    thought: (more) => (thought.textContent += more),
    text: (whole) => {
      words.textContent = whole;
      item.scrollIntoView({ block: "end" });
    },
  };
}

function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}
