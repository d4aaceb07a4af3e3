// Package conformance tests the adapters with the libraries that they are for,
// on clusters of three nodes. It is a module of its own, so that these
// libraries are no dependencies of Holdfast; `make adapters-test` runs it.
package conformance
