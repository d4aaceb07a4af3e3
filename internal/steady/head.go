package steady

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/seed-95a32959/holdfast/internal/buffers"
)

// smallHead is how much of a head costs nothing, in bytes: the server's buffer
// for reading is as large.
const smallHead = 4 << 10

var errNoRoom = errors.New("the heads of other requests take all the room that there is")

type connKey struct{}

// head is what the head of a connection's request takes. One goroutine reads
// heads, the connection's own.
type head struct {
	budget *buffers.Budget
	open   atomic.Bool // what is read belongs to a head
	read   int
	held   *buffers.Holder // nil while the head is small
}

// grow counts bytes of the head, and reports whether there is room for them.
func (h *head) grow(n int, c net.Conn) bool {
	if h.read += n; h.read <= smallHead {
		return true
	}
	if h.held == nil {
		h.held = h.budget.Open(func() { _ = c.Close() }) // the server finds out when it uses it
		n = h.read
	}
	return h.held.Take(int64(n))
}

// end says that a handler has the head, which is kept for as long.
func (h *head) end() { h.open.Store(false) }

// begin says that the request is over.
func (h *head) begin() {
	h.release()
	h.open.Store(true)
}

func (h *head) release() {
	if h.held != nil {
		h.held.Close()
	}
	h.read, h.held = 0, nil
}
