package membership

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxGossipStream bounds what a gossip connection brings: the list of all
	// members, with up to a KiB for each.
	maxGossipStream = 1 << 20
	// maxGossipStreams bounds the connections at a time; each lasts for two
	// seconds at most.
	maxGossipStreams = 128
)

// Message types of memberlist's protocol, which never change.
const (
	gossipPing       = 0
	gossipAck        = 2
	gossipMembers    = 6
	gossipCompound   = 7
	gossipCompressed = 9
	gossipEncrypted  = 10
	gossipChecked    = 12
	gossipError      = 13
	gossipLabel      = 244
)

// filter stands between the network and memberlist and keeps from it what no
// member sends. Members do not compress, and what is compressed may grow to
// 40 MiB in memberlist for each packet of 50 KB: it is refused unread. So is a
// list that announces more members than there can be, for which memberlist
// takes 100 MiB at once, a connection that brings more than a MiB, and one too
// many. Where gossip is encrypted it cannot look inside: there only those who
// have the key can send anything that memberlist reads on.
type filter struct {
	memberlist.NodeAwareTransport
	encrypted bool
	refused   *gossipRefusals

	packets chan *memberlist.Packet
	streams chan net.Conn
	slots   chan struct{}
	done    chan struct{} // nothing more is passed on
	ended   chan struct{} // nothing more comes
	loops   sync.WaitGroup
	once    sync.Once
	err     error // of the end
}

// gossipRefusals counts what has been refused of gossip, by reason: most by the
// filter, what has another key or the name of another cluster by memberlist.
type gossipRefusals struct{ compressed, malformed, large, streams, key, cluster atomic.Int64 }

// logged takes in a line of memberlist's log, which is all that it says of
// them.
func (r *gossipRefusals) logged(line string) {
	switch {
	case strings.Contains(line, "unacceptable label"):
		r.cluster.Add(1)
	case strings.HasPrefix(line, "Decrypt packet failed"),
		strings.Contains(line, "no installed keys could decrypt"),
		strings.Contains(line, "encryption is configured but remote state is not encrypted"):
		r.key.Add(1)
	}
}

func (r *gossipRefusals) byReason() map[string]int64 {
	return map[string]int64{
		"compressed": r.compressed.Load(), "malformed": r.malformed.Load(), "too-large": r.large.Load(), "too-many": r.streams.Load(),
		"key": r.key.Load(), "cluster": r.cluster.Load(),
	}
}

// newFilter opens the transport of a member's gossip. It may set the port in
// mc.
func newFilter(mc *memberlist.Config, cfg *Config, refused *gossipRefusals) (*filter, error) {
	inner, err := cfg.Transport(cfg.Address)
	if err == nil && inner == nil {
		inner, err = hostGossip(mc)
	}
	if err != nil {
		return nil, err
	}
	aware, ok := inner.(memberlist.NodeAwareTransport)
	if !ok {
		aware = unawareTransport{inner}
	}
	f := &filter{
		NodeAwareTransport: aware, encrypted: len(cfg.Keys) > 0, refused: refused,
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), slots: make(chan struct{}, maxGossipStreams), done: make(chan struct{}), ended: make(chan struct{}),
	}
	f.loops.Go(f.passPackets)
	f.loops.Go(f.passStreams)
	return f, nil
}

// hostGossip opens memberlist's own transport. One port has to be free for both
// UDP and TCP, so a port of the system's choice may need another try.
func hostGossip(mc *memberlist.Config) (memberlist.Transport, error) {
	tries := 1
	if mc.BindPort == 0 {
		tries = 10
	}
	var err error
	for range tries {
		var t *memberlist.NetTransport
		if t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{mc.BindAddr}, BindPort: mc.BindPort, Logger: mc.Logger}); err == nil {
			if mc.BindPort == 0 {
				mc.BindPort = t.GetAutoBindPort()
				mc.AdvertisePort = mc.BindPort
			}
			return t, nil
		}
	}
	return nil, err
}

// unawareTransport is a transport that addresses members by address alone.
type unawareTransport struct{ memberlist.Transport }

func (t unawareTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t unawareTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// PacketCh implements memberlist.Transport.
func (f *filter) PacketCh() <-chan *memberlist.Packet { return f.packets }

// StreamCh implements memberlist.Transport.
func (f *filter) StreamCh() <-chan net.Conn { return f.streams }

// DialTimeout implements memberlist.Transport. What is answered on the
// connection is filtered too.
func (f *filter) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	c, err := f.NodeAwareTransport.DialTimeout(address, timeout)
	return f.dialed(c, err)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (f *filter) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	c, err := f.NodeAwareTransport.DialAddressTimeout(a, timeout)
	return f.dialed(c, err)
}

func (f *filter) dialed(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &filteredStream{Conn: c, filter: f}, nil
}

// Shutdown implements memberlist.Transport. The transport waits for whoever
// takes what it has read, so the loops take it to the end.
func (f *filter) Shutdown() error {
	f.once.Do(func() {
		close(f.done)
		f.err = f.NodeAwareTransport.Shutdown()
		close(f.ended)
		f.loops.Wait()
	})
	return f.err
}

func (f *filter) passPackets() {
	for {
		select {
		case <-f.ended:
			return
		case p := <-f.NodeAwareTransport.PacketCh():
			if !f.takes(p.Buf) {
				continue
			}
			select {
			case f.packets <- p:
			case <-f.done:
			}
		}
	}
}

// takes says whether a packet is one that a member may have sent, and counts it
// if not.
func (f *filter) takes(b []byte) bool {
	if f.encrypted {
		return true
	}
	why := f.refusalOf(b)
	if why != nil {
		why.Add(1)
	}
	return why == nil
}

// refusalOf looks through label, checksum and compound of a packet that is not
// encrypted. Members send no compound within a compound.
func (f *filter) refusalOf(b []byte) *atomic.Int64 {
	b, _, err := memberlist.RemoveLabelHeaderFromPacket(b)
	if err != nil {
		return &f.refused.malformed
	}
	if len(b) >= 5 && b[0] == gossipChecked {
		b = b[5:]
	}
	switch {
	case len(b) == 0:
		return &f.refused.malformed
	case b[0] == gossipCompressed:
		return &f.refused.compressed
	case b[0] != gossipCompound:
		return nil
	}
	if len(b) < 2 || len(b) < 2+2*int(b[1]) {
		return &f.refused.malformed
	}
	lengths, parts := b[2:2+2*int(b[1])], b[2+2*int(b[1]):]
	for ; len(lengths) > 0; lengths = lengths[2:] {
		n := int(binary.BigEndian.Uint16(lengths))
		switch {
		case n == 0 || n > len(parts) || parts[0] == gossipCompound:
			return &f.refused.malformed
		case parts[0] == gossipCompressed:
			return &f.refused.compressed
		}
		parts = parts[n:]
	}
	return nil
}

func (f *filter) passStreams() {
	for {
		select {
		case <-f.ended:
			return
		case c := <-f.NodeAwareTransport.StreamCh():
			select {
			case f.slots <- struct{}{}:
			default:
				f.refused.streams.Add(1)
				c.Close()
				continue
			}
			s := &filteredStream{Conn: c, filter: f, leave: func() { <-f.slots }}
			select {
			case f.streams <- s:
			case <-f.done:
				s.Close()
			}
		}
	}
}

var (
	errGossipCompressed = errors.New("compressed gossip: members send none")
	errGossipLarge      = fmt.Errorf("gossip of more than %d bytes on one connection", maxGossipStream)
	errGossipMalformed  = errors.New("gossip that no member sends")
)

// filteredStream is a gossip connection. What comes on it begins with a label,
// maybe, and the type of its one message. It is read by one goroutine.
type filteredStream struct {
	net.Conn
	filter *filter
	leave  func() // gives its place back; nil for one that was dialled
	once   sync.Once

	arrived int
	skip    int // bytes of the label that are still to come
	stage   streamStage
	head    []byte // of a list of members, until it is known to be one
	err     error
}

type streamStage byte

const (
	streamBegins streamStage = iota
	streamLabelled
	streamInLabel
	streamInHead
	streamPasses
)

// Read implements net.Conn. What it has not looked at yet it does not return.
func (s *filteredStream) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.Conn.Read(b)
	if s.err = s.look(b[:n]); s.err != nil {
		return 0, s.err
	}
	return n, err
}

// look sees what comes next.
func (s *filteredStream) look(b []byte) error {
	if s.arrived += len(b); s.arrived > maxGossipStream {
		s.filter.refused.large.Add(1)
		return errGossipLarge
	}
	for ; len(b) > 0 && s.stage != streamPasses; b = b[1:] {
		if err := s.next(b[0]); err != nil {
			return err
		}
	}
	return nil
}

func (s *filteredStream) next(c byte) error {
	switch {
	case s.stage == streamBegins && c == gossipLabel:
		s.stage = streamLabelled
		return nil
	case s.stage == streamLabelled:
		s.skip, s.stage = int(c), streamInLabel
		return nil
	case s.stage == streamInLabel && s.skip > 0:
		s.skip--
		return nil
	case s.stage == streamInHead:
		s.head = append(s.head, c)
		whole, ok := memberListHead(s.head)
		if !ok {
			s.filter.refused.malformed.Add(1)
			return errGossipMalformed
		}
		if whole {
			s.stage = streamPasses
		}
		return nil
	}
	switch c {
	case gossipPing, gossipAck, gossipError, gossipEncrypted:
		s.stage = streamPasses
	case gossipMembers:
		s.stage = streamInHead
	case gossipCompressed:
		s.filter.refused.compressed.Add(1)
		return errGossipCompressed
	default:
		s.filter.refused.malformed.Add(1)
		return errGossipMalformed
	}
	return nil
}

// maxListed is how many members a list may announce, those included that were
// there lately.
const maxListed = 4096

// memberListHead reads what a list of members begins with, as far as it has
// come: a map in MessagePack of how many there are, how many bytes of another
// kind follow, and whether it is for a join. memberlist takes memory for as
// many as it says. Members send nothing of another kind.
func memberListHead(b []byte) (whole, ok bool) {
	const entries = 3
	if b[0] != 0x80|entries {
		return false, false
	}
	b = b[1:]
	for range entries {
		if len(b) == 0 {
			return false, true
		}
		n := int(b[0]) - 0xa0
		switch {
		case n < 0 || n > 0x1f:
			return false, false
		case len(b) < 1+n+1:
			return false, true
		}
		name, most := string(b[1:1+n]), uint64(0)
		b = b[1+n:]
		if name == "Nodes" {
			most = maxListed
		}
		size := 0 // of what follows a first byte of the value
		switch c := b[0]; {
		case c <= 0x7f:
			if uint64(c) > most && name != "Join" {
				return false, false
			}
		case (c == 0xc2 || c == 0xc3) && name == "Join":
		case c >= 0xcc && c <= 0xcf: // unsigned, in 1, 2, 4 or 8 bytes
			size = 1 << (c - 0xcc)
		default:
			return false, false
		}
		if len(b) < 1+size {
			return false, true
		}
		value := uint64(0)
		for _, c := range b[1 : 1+size] {
			value = value<<8 | uint64(c)
		}
		if value > most {
			return false, false
		}
		b = b[1+size:]
	}
	return true, true
}

// Close implements net.Conn.
func (s *filteredStream) Close() error {
	s.once.Do(func() {
		if s.leave != nil {
			s.leave()
		}
	})
	return s.Conn.Close()
}
