// What a program on the official TypeScript SDK, 1.x, does with a server; it speaks the eras with a handshake only.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const target = JSON.parse(process.argv[2]);
const from = createRequire(`${target.modules}/`);
const load = async (name) => import(pathToFileURL(from.resolve(name)).href);
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { ElicitRequestSchema } = await load("@modelcontextprotocol/sdk/types.js");

const client = new Client({ name: "visit", version: "1" }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, async () => ({ action: "accept", content: { response: "a word" } }));
const transport = target.url
  ? new StreamableHTTPClientTransport(new URL(target.url))
  : new StdioClientTransport({ command: target.command[0], args: target.command.slice(1), env: target.env });
let version;
transport.setProtocolVersion = ((before) => (said) => {
  version = said;
  before?.call(transport, said);
})(transport.setProtocolVersion);
await client.connect(transport);

async function call(name) {
  try {
    const result = await client.callTool({ name, arguments: {} });
    return { refused: result.isError === true, text: result.content.filter((one) => one.type === "text").map((one) => one.text).join(" ") };
  } catch (e) {
    return { refused: true, text: e.message };
  }
}

const told = {
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  allowed: await call("test_simple_text"),
  denied: await call("test_logging_tool"),
  asked: await call("test_streaming_elicitation"),
  resource: (await client.readResource({ uri: "test://static-text" })).contents[0].text,
  prompt: (await client.getPrompt({ name: "test_simple_prompt" })).messages[0].content.text,
};
console.log(JSON.stringify({ version, ...told }));
await client.close();
