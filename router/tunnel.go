package router

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// closeGrace is how long one side of a WebSocket may take to end after the
// other has.
const closeGrace = time.Second

// tunnel joins the client and the member after a switch to WebSocket (RFC
// 6455), until either ends or the router closes. The side that does not know of
// the end is told of it as an end point would tell it, by a close frame, so
// that a browser's page hears "going away" and connects again.
func (x *exchange) tunnel(c *memberConn, t Target) {
	defer c.close()
	added := x.adorn(&c.resp, t)
	if x.front.begin(&c.resp, added) != nil {
		return
	}
	client, early, err := x.front.takeOver()
	if err != nil {
		x.rt.cfg.Logger.Warn("connection cannot be switched to WebSocket", "error", err)
		return
	}
	defer client.Close()
	_ = c.conn.SetDeadline(time.Time{}) // fails only on a closed connection, as the next use will
	down := &direction{from: c.conn, to: client}
	up := &direction{from: client, to: c.conn, masked: true}
	stop := context.AfterFunc(x.rt.closing, func() {
		// Ends down, which tells the client and gives it time to say good-bye
		// to the member.
		_ = c.conn.SetReadDeadline(longAgo)
	})
	defer stop()
	var group sync.WaitGroup
	group.Go(func() { up.run(early) })
	down.run(c.reader.Take())
	group.Wait()
}

// direction is one half of a tunnel.
type direction struct {
	from, to net.Conn
	masked   bool // a client's frames are masked
	frames   frames
}

// run passes bytes on until from ends, and then ends to.
func (d *direction) run(early []byte) {
	if d.pass(early) == nil {
		buf := make([]byte, 16<<10)
		for {
			n, err := d.from.Read(buf)
			if d.pass(buf[:n]) != nil || err != nil {
				break
			}
		}
	}
	_ = d.to.SetWriteDeadline(time.Now().Add(closeGrace))
	if d.frames.between() && !d.frames.closed {
		_, _ = d.to.Write(goingAway(d.masked)) // the last thing it is told; it ends either way
	}
	closeWrite(d.to)
	_ = d.to.SetReadDeadline(time.Now().Add(closeGrace)) // the other direction ends with this
}

// closeWrite says that nothing more comes, where the connection, or the one
// that it wraps, can say so.
func closeWrite(conn net.Conn) bool {
	for {
		if closer, ok := conn.(interface{ CloseWrite() error }); ok {
			return closer.CloseWrite() == nil
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return false
		}
		conn = wrapper.NetConn()
	}
}

func (d *direction) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	d.frames.note(p)
	_, err := d.to.Write(p)
	return err
}

// frames follows the frames of a WebSocket without changing them, to know where
// one may be put in between.
type frames struct {
	head   []byte // of the frame that has begun
	left   uint64 // of its payload
	closed bool   // a close frame was among them
}

func (f *frames) between() bool { return len(f.head) == 0 && f.left == 0 }

// note takes the bytes that pass.
func (f *frames) note(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left -= n
			p = p[n:]
			continue
		}
		f.head = append(f.head, p[0])
		p = p[1:]
		if need := headSize(f.head); len(f.head) == need {
			f.closed = f.closed || f.head[0]&0xf == opClose
			f.left = payloadSize(f.head)
			f.head = f.head[:0]
		}
	}
}

const (
	opClose         = 0x8
	finalBit        = 0x80
	maskedBit       = 0x80
	statusGoingAway = 1001
)

// headSize is how long a frame's head is, as far as its first bytes tell (RFC
// 6455, section 5.2).
func headSize(head []byte) int {
	n := 2
	if len(head) < n {
		return n
	}
	switch head[1] &^ maskedBit {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if head[1]&maskedBit != 0 {
		n += 4
	}
	return n
}

func payloadSize(head []byte) uint64 {
	switch n := head[1] &^ maskedBit; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		return binary.BigEndian.Uint64(head[2:])
	default:
		return uint64(n)
	}
}

// goingAway is the close frame of an end point that goes away. Masked, it is
// masked with zeros: it holds nothing that an attacker has chosen.
func goingAway(masked bool) []byte {
	frame := []byte{finalBit | opClose, 2}
	if masked {
		frame[1] |= maskedBit
		frame = append(frame, 0, 0, 0, 0)
	}
	return binary.BigEndian.AppendUint16(frame, statusGoingAway)
}
