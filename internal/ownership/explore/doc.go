// Package explore tries what can happen to package ownership. It has one noun,
// the [World]: some members, each with a Core of its own, one virtual clock,
// and a network in which every message is held until it is told to arrive, to
// be lost, or to arrive twice.
//
// A World is moved by [World.Do], a line of text at a time, which is how
// scenarios are written (../testdata), and by [Search], which tries every such
// line in every state that it reaches, the shortest ways first, and prints a
// way to a bad state as a scenario.
//
// What the World leaves out: a heartbeat goes to and fro in one step unless its
// link is stalled or one end stands still; each member sends one in a tick to
// each other and not five times a second; and a copy is a set of writes, merged
// by union.
package explore
