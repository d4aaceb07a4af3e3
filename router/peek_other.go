//go:build !unix

package router

// peekAt cannot look here; a connection that has ended is found out when it is
// used.
func peekAt(uintptr) sight { return quiet }
