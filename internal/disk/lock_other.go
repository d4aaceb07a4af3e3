//go:build !unix

package disk

import (
	"io"
	"os"
)

// Lock implements FS. Where there are no advisory locks nothing keeps a second
// process out.
func (d *Dir) Lock(name string) (io.Closer, error) {
	return d.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}
