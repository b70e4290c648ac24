// Compiles the circuits beside this file and makes everything in built/ again: node crates/groth16/circom/remake.mjs
//
// It takes Node.js and npm, and about a minute: most of it goes into powers of tau of its own. The keys are for development, and say so in
// their contribution: whoever runs this could keep the randomness, and forge proofs with it. All keys and proofs are random, so all files change.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGES = ["circom2@0.2.23", "snarkjs@0.7.6", "circomlib@2.0.5"];
// 2^12 rows: enough for the larger circuit.
const POWER = 12;
const CONTRIBUTION = "development: whoever made this could know its secrets";

// A root, for the proofs that are kept as examples.
const ROOT = ["0x000102030405060708090a0b0c0d0e0f", "0x101112131415161718191a1b1c1d1e1f"];

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, "built");
const work = mkdtempSync(join(tmpdir(), "coprocessor-circom-"));
const file = (name) => join(work, name);
const entropy = () => randomBytes(32).toString("hex");

execFileSync("npm", ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", ".", ...PACKAGES], {
    cwd: work,
    stdio: "inherit",
});
const require = createRequire(join(work, "package.json"));
const snarkjs = require("snarkjs");

// The compiler sees no folder but the one it runs in.
for (const name of readdirSync(here).filter((name) => name.endsWith(".circom"))) {
    copyFileSync(join(here, name), file(name));
}
mkdirSync(built, { recursive: true });

const curve = await snarkjs.curves.getCurveFromName("bn128");
await snarkjs.powersOfTau.newAccumulator(curve, POWER, file("tau_0"));
await snarkjs.powersOfTau.contribute(file("tau_0"), file("tau_1"), CONTRIBUTION, entropy());
await snarkjs.powersOfTau.preparePhase2(file("tau_1"), file("tau"));

// "cpgb", version 1, three sections: see src/bundle.rs.
const bundle = (files) => {
    const number = (value) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32LE(value);
        return bytes;
    };
    const length = (value) => {
        const bytes = Buffer.alloc(8);
        bytes.writeBigUInt64LE(BigInt(value));
        return bytes;
    };
    const sections = files.flatMap((name, at) => {
        const bytes = readFileSync(name);
        return [number(at + 1), length(bytes.length), bytes];
    });
    return Buffer.concat([Buffer.from("cpgb"), number(1), number(files.length), ...sections]);
};

const make = async (name, inputs) => {
    execFileSync("npx", ["circom2", `${name}.circom`, "--r1cs", "--wasm", "--O2", "-l", "node_modules"], {
        cwd: work,
        stdio: "inherit",
    });
    const [r1cs, zkey, wasm] = [file(`${name}.r1cs`), file(`${name}.zkey`), file(`${name}_js/${name}.wasm`)];
    if ((await snarkjs.zKey.newZKey(r1cs, file("tau"), file("fresh.zkey"))) === -1) {
        throw new Error(`${name} is too large for these powers of tau`);
    }
    await snarkjs.zKey.contribute(file("fresh.zkey"), zkey, CONTRIBUTION, entropy());
    writeFileSync(join(built, `${name}.bundle`), bundle([r1cs, zkey, wasm]));

    const examples = join(built, name);
    mkdirSync(examples, { recursive: true });
    const write = (to, value) => writeFileSync(join(examples, to), JSON.stringify(value, null, 1) + "\n");
    const { proof, publicSignals } = await snarkjs.groth16.fullProve(inputs, wasm, zkey);
    write("input.json", inputs);
    write("proof.json", proof);
    write("public.json", publicSignals);
    write("verification_key.json", await snarkjs.zKey.exportVerificationKey(zkey));
};

await make("threshold", { root: ROOT, threshold: "1000", amount: 2500, salt: "0x5a17" });
// The second leaf of an otherwise empty tree.
await make("membership", {
    root: ROOT,
    scope: "7",
    secret: "123456789",
    siblings: Array(8).fill("0"),
    sides: [1, 0, 0, 0, 0, 0, 0, 0],
});

rmSync(work, { recursive: true });
process.exit(0);
