//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// ownedByUser says whether a file is that of the user who runs this process.
func ownedByUser(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
