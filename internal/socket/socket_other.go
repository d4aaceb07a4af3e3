//go:build !unix

package socket

func narrow(uintptr) {}
