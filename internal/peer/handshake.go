package peer

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"strings"
	"time"
)

// HELLO's payload is
//
//	"HOLDFAST" | u16 wire | cluster | name | boot | role | params | name and boot of who is called | u16 oldest wire
//
// each text as u16 length and bytes. Its layout never changes, so that members
// of different versions can tell each other apart; a later version may append
// to it, and what follows is ignored. So were the last pair of texts added and
// the oldest version, which may be missing.
const (
	magic    = "HOLDFAST"
	maxText  = 1024
	maxHello = 8 << 10 // seven texts and what a later version may add
	maxWire  = math.MaxUint16
)

// The seq of a refusal says more than its text, to a program.
const (
	refusedByText = iota
	refusedOther  // ErrOther
)

// appendHello appends id and who is called in the form of HELLO's payload.
func appendHello(b []byte, id, wanted Identity) ([]byte, error) {
	if id.Wire < 0 || id.Wire > maxWire {
		return nil, fmt.Errorf("identity: wire version is %d, want 0 to %d", id.Wire, maxWire)
	}
	if id.OldestWire < 0 || id.OldestWire > id.Wire {
		return nil, fmt.Errorf("identity: oldest wire version is %d, want 0 to %d", id.OldestWire, id.Wire)
	}
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, uint16(id.Wire))
	for _, text := range []string{id.Cluster, id.Name, id.Boot, id.Role, id.Params, wanted.Name, wanted.Boot} {
		if len(text) > maxText {
			return nil, fmt.Errorf("identity: %.32q… has %d bytes, want at most %d", text, len(text), maxText)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
		b = append(b, text...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(id.OldestWire)), nil
}

// parseHello is appendHello's inverse.
func parseHello(b []byte) (id, wanted Identity, err error) {
	if len(b) < len(magic)+2 || string(b[:len(magic)]) != magic {
		return id, wanted, fmt.Errorf("%w: HELLO opens with %.16q, want %q", ErrMalformed, b, magic)
	}
	b = b[len(magic):]
	id.Wire = int(binary.BigEndian.Uint16(b))
	id.OldestWire = id.Wire // where it says no more
	b = b[2:]
	for _, text := range []*string{&id.Cluster, &id.Name, &id.Boot, &id.Role, &id.Params} {
		if *text, b, err = cutText(b); err != nil {
			return Identity{}, Identity{}, err
		}
	}
	if name, rest, err := cutText(b); err == nil {
		if boot, rest, err := cutText(rest); err == nil {
			wanted = Identity{Name: name, Boot: boot}
			if len(rest) >= 2 {
				id.OldestWire = int(binary.BigEndian.Uint16(rest))
			}
		}
	}
	return id, wanted, nil
}

func cutText(b []byte) (text string, rest []byte, err error) {
	if len(b) < 2 {
		return "", nil, fmt.Errorf("%w: HELLO ends early", ErrMalformed)
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n > maxText || n > len(b) {
		return "", nil, fmt.Errorf("%w: HELLO has a text of %d bytes, want at most %d", ErrMalformed, n, min(maxText, len(b)))
	}
	return string(b[:n]), b[n:], nil
}

// handshake runs one side's exchange under the timeout and ctx, and closes conn
// unless it succeeds.
func handshake(ctx context.Context, conn net.Conn, cfg Config, exchange func() (Identity, error)) (Identity, error) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		conn.Close()
	})
	err := conn.SetDeadline(time.Now().Add(cfg.HandshakeTimeout))
	var peer Identity
	if err == nil {
		peer, err = exchange()
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if !stop() { // ctx has ended, and that is why the exchange failed or is of no use
		<-closed
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return Identity{}, fmt.Errorf("peer: handshake with %s: %w", conn.RemoteAddr(), err)
	}
	return peer, nil
}

// greetServer is the dialing side's exchange: it speaks first, and may refuse
// after it has been accepted.
func greetServer(conn net.Conn, in *frameReader, cfg Config) (Identity, error) {
	if err := sayHello(conn, cfg); err != nil {
		return Identity{}, err
	}
	peer, _, err := hearHello(in)
	if err != nil {
		return Identity{}, err
	}
	return peer, check(conn, peer, cfg)
}

// greetClient is the accepting side's exchange: it says who it is only to a
// peer that it has accepted. One that is ending says nothing any more: it would
// be taken for alive after its other connections have ended.
func greetClient(ctx context.Context, conn net.Conn, in *frameReader, cfg Config) (Identity, error) {
	peer, wanted, err := hearHello(in)
	if err != nil {
		return Identity{}, err
	}
	// A caller that knows the boot that was here is told that it has ended: the
	// sooner it knows, the sooner the successor takes over.
	if self := cfg.Self(); wanted.Boot != "" && (wanted.Name != self.Name || wanted.Boot != self.Boot) {
		return Identity{}, refuse(conn, peer, refusedOther, "not the process that was called", ErrOther)
	}
	if cfg.Admit != nil {
		if reason := cfg.Admit(peer, conn.RemoteAddr()); reason != nil {
			return Identity{}, refuse(conn, peer, refusedByText, "not admitted", reason)
		}
	}
	if err := check(conn, peer, cfg); err != nil {
		return Identity{}, err
	}
	if ctx.Err() != nil {
		return Identity{}, context.Cause(ctx)
	}
	return peer, sayHello(conn, cfg)
}

func sayHello(conn net.Conn, cfg Config) error {
	hello, err := appendHello(nil, cfg.Self(), cfg.Wanted)
	if err != nil {
		return err
	}
	if _, err := conn.Write(appendFrame(nil, typeHello, 0, hello)); err != nil {
		return fmt.Errorf("send HELLO: %w", err)
	}
	return nil
}

// hearHello reads the first frame of the other side. Whatever is on the other
// end, HTTP or TLS for instance, fails here after 13 bytes.
func hearHello(in *frameReader) (id, wanted Identity, err error) {
	h, err := in.header()
	if err != nil {
		return id, wanted, fmt.Errorf("await HELLO: %w", err)
	}
	if h.typ == typeRefuse {
		return id, wanted, hearRefusal(in, h)
	}
	if h.typ != typeHello || h.size > maxHello {
		return id, wanted, fmt.Errorf("%w: opens with type %#x and %d bytes, want a HELLO (%#x) of at most %d: not a Holdfast peer",
			ErrMalformed, h.typ, h.size, typeHello, maxHello)
	}
	payload, err := in.payload(h.size)
	if err != nil {
		return id, wanted, fmt.Errorf("await HELLO: %w", err)
	}
	return parseHello(payload)
}

// check asks Check, and tells the peer why it is refused.
func check(conn net.Conn, peer Identity, cfg Config) error {
	if cfg.Check == nil {
		return nil
	}
	reason := cfg.Check(peer)
	if reason == nil {
		return nil
	}
	return refuse(conn, peer, refusedByText, string(errorText(reason)), reason)
}

// refuse tells a peer a text, and returns the reason as an error.
func refuse(conn net.Conn, peer Identity, code uint64, text string, reason error) error {
	if _, err := conn.Write(appendFrame(nil, typeRefuse, code, []byte(text))); err != nil {
		return fmt.Errorf("%w %q: %w (and could not tell it: %w)", ErrRefused, peer.Name, reason, err)
	}
	return fmt.Errorf("%w %q: %w", ErrRefused, peer.Name, reason)
}

// hearRefusal reads the rest of a refusal and returns it as an error.
func hearRefusal(in *frameReader, h header) error {
	if h.size > maxText {
		return fmt.Errorf("%w: refusal of %d bytes, want at most %d", ErrMalformed, h.size, maxText)
	}
	text, err := in.payload(h.size)
	if err != nil {
		return fmt.Errorf("%w by the other side, its reason is lost: %w", ErrRefused, err)
	}
	if h.seq == refusedOther {
		return fmt.Errorf("%w by the other side: %w", ErrRefused, ErrOther)
	}
	return fmt.Errorf("%w by the other side: %w", ErrRefused, &RemoteError{Text: string(text)})
}

// errorText is err's text as it goes over the wire: valid UTF-8, at most
// maxText bytes.
func errorText(err error) []byte {
	text := err.Error()
	if len(text) > maxText {
		text = text[:maxText]
	}
	return []byte(strings.ToValidUTF8(text, ""))
}
