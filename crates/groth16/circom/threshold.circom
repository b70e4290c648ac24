pragma circom 2.1.6;

include "circomlib/circuits/bitify.circom";
include "circomlib/circuits/comparators.circom";
include "circomlib/circuits/poseidon.circom";
include "coprocessor.circom";

// "The amount behind this commitment is at least so much", without saying how much it is.
//
// Public values: root, root, threshold, commitment.
template Threshold(bits) {
    signal input root[2];
    signal input threshold;
    signal input amount;
    // Without it, small amounts could be found from their commitment by trying.
    signal input salt;

    signal output boundRoot[2] <== CoprocessorRoot()(root);
    signal output atLeast <== threshold;
    signal output commitment <== Poseidon(2)([amount, salt]);

    // A comparison holds for numbers of so many bits only: of others the field's wrapping around would make anything of it.
    _ <== Num2Bits(bits)(threshold);
    _ <== Num2Bits(bits)(amount);
    signal enough <== GreaterEqThan(bits)([amount, threshold]);
    enough === 1;
}

component main = Threshold(64);
