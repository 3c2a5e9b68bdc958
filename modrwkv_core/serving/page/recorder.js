// Hands what the microphone hears to the page.

registerProcessor(
  "recorder",
  class extends AudioWorkletProcessor {
    process([input]) {
      if (input.length) this.port.postMessage(input[0].slice());
      return true;
    }
  },
);
