//go:build !nextwire

package member

// Wire is the newest version that this build speaks.
const Wire = 7

// nextMeta is what a later version adds to its metadata.
var nextMeta []byte
