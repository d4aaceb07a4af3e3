//go:build !unix

package node

func narrowSocket(uintptr) {}
