pragma circom 2.1.6;

// Binds a circuit's proofs to a coprocessor root.
//
// A proof's public values begin with the root's high and low 128 bits. Circom puts a circuit's outputs before its public inputs, each in
// the order of declaration, so this goes before all other outputs of the main component:
//
//     signal input root[2];
//     signal output boundRoot[2] <== CoprocessorRoot()(root);
//
// The coprocessor gives the input `root` itself; a request's inputs do not have it. It adds no constraints: public values are bound to a
// proof whether a circuit uses them or not.
template CoprocessorRoot() {
    signal input root[2];
    signal output bound[2] <== root;
}
