//go:build nextwire

package member

// A build with the tag nextwire stands for the version after this one: tests roll
// a cluster to it and back. It says something in its metadata that this one does
// not know.
const Wire = 8

var nextMeta = []byte{255, 4, 'n', 'e', 'x', 't'}
