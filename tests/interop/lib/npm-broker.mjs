// npm `peer`, the broker PeerJS's authors ship, as a process of its own. Usage: node npm-broker.mjs PORT KEY
import { PeerServer } from "peer";

const [port, key] = process.argv.slice(2);
const server = PeerServer(
  { host: "127.0.0.1", port: Number(port), key, path: "/", allow_discovery: true, expire_timeout: 1000 },
  (http) => console.log(`listening on port ${http.address().port}`),
);
server.on("error", (error) => console.error(String(error))); // without a listener one bad frame ends the process
