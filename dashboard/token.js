// The token: from the fragment of the address into this tab's storage, and from there only to the server that knows it.

const KEY = "synaptic-token";

/** Take it out of the address bar, so that no screenshot and no copied address holds it. */
export function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    keepToken(found);
    history.replaceState(null, "", location.pathname);
  }
}

export const token = () => sessionStorage.getItem(KEY) ?? "";

/** A token, or an address with one. */
export function keepToken(text) {
  sessionStorage.setItem(KEY, text.trim().split("token=").pop());
}

/**
 * Whether the server behind this address knows the token, without telling it: another program may have taken the port.
 * "unreachable", "stranger" or "ours". Browsers compute it only for secure pages, which this machine's own are.
 */
export async function whoAnswers() {
  const nonce = crypto.getRandomValues(new Uint32Array(4)).join("-");
  let proof;
  try {
    const answer = await fetch(`/api/health?prove=${nonce}`, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    proof = (await answer.json()).proof;
  } catch {
    return "unreachable";
  }
  if (!crypto.subtle) return "ours";
  return token() && proof === (await expected(nonce)) ? "ours" : "stranger";
}

async function expected(nonce) {
  const text = new TextEncoder();
  const key = await crypto.subtle.importKey("raw", text.encode(token()), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const signed = await crypto.subtle.sign("HMAC", key, text.encode(`${nonce} ${location.port || "80"}`));
  return [...new Uint8Array(signed)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
