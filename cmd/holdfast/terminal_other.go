//go:build !unix

package main

import "os"

func terminalColumns(*os.File) (columns int, ok bool) { return 0, false }
