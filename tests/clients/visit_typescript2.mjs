// What a program on the official TypeScript SDK, 2.x, does with a server, in either era.
import { pathToFileURL } from "node:url";

const target = JSON.parse(process.argv[2]);
const load = async (name) => import(pathToFileURL(`${target.modules}/@modelcontextprotocol/client/dist/${name}.mjs`).href);
const { Client, StreamableHTTPClientTransport } = await load("index");
const { StdioClientTransport } = await load("stdio");

const versionNegotiation = { mode: target.era === "legacy" ? "legacy" : "auto" };
const client = new Client({ name: "visit", version: "1" }, { capabilities: { elicitation: {} }, versionNegotiation });
client.setRequestHandler("elicitation/create", async () => ({ action: "accept", content: { response: "a word" } }));
const transport = target.url
  ? new StreamableHTTPClientTransport(new URL(target.url))
  : new StdioClientTransport({ command: target.command[0], args: target.command.slice(1), env: target.env });
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
  version: client.getNegotiatedProtocolVersion(),
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  allowed: await call("test_simple_text"),
  denied: await call("test_logging_tool"),
  asked: await call("test_streaming_elicitation"),
  resource: (await client.readResource({ uri: "test://static-text" })).contents[0].text,
  prompt: (await client.getPrompt({ name: "test_simple_prompt" })).messages[0].content.text,
};
console.log(JSON.stringify(told));
await client.close();
