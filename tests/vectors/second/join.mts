// The join string and the addresses in it.

import { type JsonObject, decode, fromBase64url } from "./canonical.mjs";
import { malformed } from "./errors.mjs";
import { Fields } from "./fields.mjs";

const PREFIX = "fleetward-join-1.";
const ADDRESS =
  /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):([1-9][0-9]{0,4})$/;

export function readAddress(text: string): { host: string; port: number } {
  const [, v6, name, port] = ADDRESS.exec(text) ?? malformed("bad_address");
  if (Number(port) > 65535) malformed("bad_address");
  return { host: (v6 ?? name)!, port: Number(port) };
}

function readAddresses(fields: Fields, name: string): string[] {
  const addresses = fields.texts(name, 8);
  if (addresses.length === 0) malformed("bad_field");
  addresses.forEach(readAddress);
  return addresses;
}

export function readJoinString(pasted: string): JsonObject {
  const text = pasted.replace(/\s/g, "");
  if (!text.startsWith(PREFIX) || text.length > 8192) malformed("bad_join_string");
  const fields = new Fields(decode(fromBase64url(text.slice(PREFIX.length))), [
    "bus", "enrol", "invitation", "owner_root", "policy", "server_ca",
  ]);
  const policy = new Fields(fields.map("policy"), ["hash", "version"]);
  return {
    bus: readAddresses(fields, "bus"),
    enrol: readAddresses(fields, "enrol"),
    invitation: fields.binary("invitation", 4096).toString("base64url"),
    owner: fields.digest("owner_root"),
    policy_hash: policy.digest("hash"),
    policy_version: policy.integer("version", 1),
    server_ca: fields.digest("server_ca"),
  };
}
