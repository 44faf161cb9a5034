// Shell commands that serve an exported model.

const LORA_RANKS = [8, 16, 32, 64, 128, 256, 320, 512];

/** `[{title, text}]` for a job that has succeeded. */
export function serveCommands(job) {
  const { spec, name } = job.essa;
  const served = shellWord(name);
  const rank = spec.warm_start.lora?.rank;
  const fitting = LORA_RANKS.find((size) => size >= rank);
  const lines = [`vllm serve ${base(job.model)}`, "--enable-lora", `--lora-modules ${served}=./adapter`];
  if (fitting && fitting > 16) lines.push(`--max-lora-rank ${fitting}`);
  return [
    { title: "Base with the adapter unpacked to ./adapter", text: lines.join(" \\\n  ") },
    { title: "Merged model unpacked to ./merged", text: `vllm serve ./merged --served-model-name ${served}` },
    { title: "This service, by any OpenAI client", text: curl(job.fine_tuned_model ?? name) },
  ];
}

/** vLLM does not know the name of a package of weights, so its folder has to be given. */
function base(model) {
  return model.startsWith("package:") ? "./base-model" : shellWord(model);
}

function curl(model) {
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
  return [`curl ${location.origin}/v1/chat/completions`, '-H "Authorization: Bearer $ESSA_API_KEY"', "-H 'Content-Type: application/json'", `-d '${body.replaceAll("'", "'\\''")}'`].join(" \\\n  ");
}

function shellWord(text) {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
