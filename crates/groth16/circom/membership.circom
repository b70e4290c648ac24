pragma circom 2.1.6;

include "circomlib/circuits/poseidon.circom";
include "coprocessor.circom";

// "I know the secret of one leaf of this tree", without saying which: of a tree of Poseidon hashes whose leaves are the hashes of
// secrets. The nullifier is the same each time one leaf is shown in one scope, so that it can be shown once.
//
// Public values: root, root, tree, nullifier, scope.
template Membership(depth) {
    signal input root[2];
    signal input scope;
    signal input secret;
    // For each level, from the leaf up: what stands beside, and whether that is on the left (1) or on the right (0).
    signal input siblings[depth];
    signal input sides[depth];

    signal output boundRoot[2] <== CoprocessorRoot()(root);

    signal nodes[depth + 1];
    nodes[0] <== Poseidon(1)([secret]);
    signal lefts[depth];
    for (var level = 0; level < depth; level++) {
        sides[level] * (1 - sides[level]) === 0;
        lefts[level] <== nodes[level] + sides[level] * (siblings[level] - nodes[level]);
        nodes[level + 1] <== Poseidon(2)([lefts[level], nodes[level] + siblings[level] - lefts[level]]);
    }

    signal output tree <== nodes[depth];
    signal output nullifier <== Poseidon(2)([secret, scope]);
    signal output inScope <== scope;
}

component main = Membership(8);
