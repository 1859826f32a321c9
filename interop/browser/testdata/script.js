"use strict";

// protocols tells by which protocol the page and each of its assets came.
function protocols() {
  const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  return Object.fromEntries(entries.map((e) => [new URL(e.name).pathname, e.nextHopProtocol]));
}

function hex(buffer) {
  return [...new Uint8Array(buffer)].map((b) => b.toString(16).padStart(2, "0")).join("");
}

// upload sends a form with a file of pseudo-random bytes, and returns their SHA-256.
async function upload(name, size) {
  const bytes = new Uint8Array(size);
  let x = 0x2545f491;
  for (let i = 0; i < size; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[i] = x;
  }
  const form = new FormData();
  form.append("file", new Blob([bytes]), name);
  const answer = await fetch("in/", { method: "POST", body: form });
  return { sum: hex(await crypto.subtle.digest("SHA-256", bytes)), status: answer.status };
}

// download reads a body as it comes, and returns its length and Adler-32.
async function download(path) {
  const answer = await fetch(path, { cache: "no-store" });
  let a = 1, b = 0, size = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    for (let i = 0; i < value.length; ) {
      // So many steps fit before the sums have to be reduced.
      for (const end = Math.min(i + 3800, value.length); i < end; i++) {
        a += value[i];
        b += a;
      }
      a %= 65521;
      b %= 65521;
    }
  }
  return { status: answer.status, size, sum: b * 65536 + a };
}
