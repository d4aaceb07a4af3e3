package main

import (
	"bytes"
	"compress/lzw"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// Frame types of the peer link, as the node package has them.
const (
	frameRequest = 0x02
	frameClaim   = 0x03
	frameCopies  = 0x10
	frameStats   = 0x40
	frameHello   = 0xF0
)

// frameHeader is what a frame's length counts beside its payload.
const frameHeader = 1 + 8

// guise is who a stranger says that it is, and from where it comes.
type guise struct {
	what     string
	identity peer.Identity
	from     string
	// perfect says that nothing but a key could tell the stranger from the
	// member. Only what no member would claim can be refused then.
	perfect bool
}

// guises are those of a stranger who knows all that members tell in public.
func guises(r adminapi.Ring) []guise {
	who := func(name, boot, role string) peer.Identity {
		return peer.Identity{Cluster: clusterName, Name: name, Boot: boot, Role: role, Params: ring.Params{}.String()}
	}
	boot := fmt.Sprintf("%012x%08x", time.Now().UnixMilli(), rand.Uint32())
	list := []guise{
		{"a name that nobody has", who("stranger", boot, "node"), attacker, false},
		{"a name that nobody has, as router", who("stranger", boot, "router"), attacker, false},
		{"no name", who("", "", "node"), attacker, false},
	}
	for _, m := range r.Members {
		if m.Role == "node" {
			list = append(list,
				guise{"a member's name and another boot", who(m.Name, boot, "node"), attacker, false},
				guise{"a member's name and boot from another address", who(m.Name, m.Boot, "node"), attacker, false},
				guise{"a member's name, boot and address", who(m.Name, m.Boot, "node"), "127.0.0.1", true})
			break
		}
	}
	return list
}

// knock opens a link under a guise. Which version the members speak is tried
// out, as a stranger would.
func (g guise) knock(ctx context.Context, address string) (*peer.Link, error) {
	const versions = 12
	var last error
	for wire := versions; wire > 0; wire-- {
		l, err := dial(g.from, address)
		if err != nil {
			return nil, err
		}
		id := g.identity
		id.Wire = wire
		link, err := peer.Connect(ctx, l.Conn, peer.Config{Self: func() peer.Identity { return id }})
		if err == nil {
			return link, nil
		}
		last = err
	}
	return nil, last
}

// claim asks for all partitions, with consent of all members.
func claim(epoch uint64, r adminapi.Ring) []byte {
	b := binary.BigEndian.AppendUint64(nil, epoch)
	b = append(append(b, byte(len(r.Fingerprint))), r.Fingerprint...)
	var ids []string
	for _, m := range r.Members {
		if m.Role == "node" {
			ids = append(ids, m.Name+"~"+m.Boot)
		}
	}
	b = append(b, byte(len(ids)))
	for _, id := range ids {
		b = append(append(b, byte(len(id))), id...)
	}
	for p := range ring.Partitions {
		b = binary.BigEndian.AppendUint16(b, uint16(p))
	}
	return b
}

// accepted counts the partitions that an answer to a claim gives away.
func accepted(answer []byte) (n int) {
	const fixed = 26
	for len(answer) >= fixed && len(answer) >= fixed+int(answer[fixed-1]) {
		if answer[0] == 1 || answer[0] == 2 {
			n++
		}
		answer = answer[fixed+int(answer[fixed-1]):]
	}
	return n
}

// runPeer claims everything at every peer port in every guise, and then sends
// frames that lie as well.
func runPeer(ctx context.Context, s *stage) error {
	r, err := s.router().admin.Ring(ctx)
	if err != nil {
		return err
	}
	claims := func() {
		for _, g := range guises(r) {
			for _, m := range s.nodes() {
				s.claimAs(ctx, g, m, r)
			}
		}
	}
	claims()
	for _, m := range s.nodes() {
		s.group.Go(func() { s.announce(ctx, m) })
		s.group.Go(func() { s.babble(ctx, m) })
	}
	for nursery.Sleep(ctx, time.Second) {
		claims()
	}
	return nil
}

// runGossip bombs the gossip port of every member.
func runGossip(ctx context.Context, s *stage) error {
	bomb, err := gossipBomb()
	if err != nil {
		return err
	}
	each(s.members, func(m *member) { s.bombard(ctx, m.Address(nursery.GossipPort), bomb) })
	return nil
}

// claimAs claims all partitions at one node in one guise, and asks for its
// figures: whoever is no member must get neither, and nobody an epoch far above
// all that there were.
func (s *stage) claimAs(ctx context.Context, g guise, m *member, r adminapi.Ring) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	link, err := g.knock(ctx, m.Address(nursery.PeerPort))
	if err != nil {
		s.saw("handshake refused")
		return
	}
	defer link.Close()
	epochs := []uint64{5000, math.MaxUint64}
	if g.perfect {
		epochs = epochs[1:]
	} else if _, err := link.Call(ctx, frameStats, nil); err == nil && ctx.Err() == nil {
		s.saw("figures of the cluster")
		s.fault("the peer port tells its figures to %s", g.what)
	}
	for _, epoch := range epochs {
		b, err := link.Call(ctx, frameClaim, claim(epoch, r))
		if n := accepted(b); err == nil && n > 0 {
			s.count(n, "partitions given away")
			s.fault("the peer port gives partitions to %s, at epoch %d", g.what, epoch)
		} else {
			s.saw("claim refused")
		}
	}
}

// hello is the first frame of a link, with a version that most likely is the
// wrong one.
func hello(size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(frameHeader+size))
	return append(append(b, frameHello), make([]byte, 8)...)
}

// announce says that large frames will come, sends a megabyte of each, and
// holds the connection.
func (s *stage) announce(ctx context.Context, m *member) {
	const conns, size = 30, 64 << 20
	part := make([]byte, 1<<20)
	for i := range conns {
		s.group.Go(func() {
			l, err := dial(attacker, m.Address(nursery.PeerPort))
			if err != nil {
				return
			}
			defer l.Close()
			_ = l.SetDeadline(time.Now().Add(time.Second)) // what is not taken is not taken
			b := hello(size)
			if i%2 == 0 { // as a member that is let in
				text := binary.BigEndian.AppendUint16([]byte("HOLDFAST"), 4)
				for _, t := range []string{clusterName, fmt.Sprintf("big-%d", i), "boot", "node", ring.Params{}.String()} {
					text = append(binary.BigEndian.AppendUint16(text, uint16(len(t))), t...)
				}
				b = append(hello(len(text)), text...)
				b = binary.BigEndian.AppendUint32(b, frameHeader+size)
				b = append(append(b, []byte{frameRequest, frameClaim, frameCopies}[i/2%3]), make([]byte, 8)...)
			}
			_, _ = l.Write(append(b, part...))
			if _, err := l.Read(part[:1]); isTimeout(err) {
				s.saw("64 MiB announced: held")
				<-ctx.Done()
				return
			}
			s.saw("64 MiB announced: ended")
		})
	}
}

// babble sends bytes that mean nothing, half of them framed.
func (s *stage) babble(ctx context.Context, m *member) {
	r := rand.New(rand.NewPCG(uint64(m.Port), 2))
	for nursery.Sleep(ctx, 20*time.Millisecond) {
		b := make([]byte, 16+r.IntN(2000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if r.IntN(2) == 0 {
			binary.BigEndian.PutUint32(b, uint32(r.IntN(4000)))
			b[4] = frameHello
		}
		if l, err := dial(attacker, m.Address(nursery.PeerPort)); err == nil {
			_, _ = l.Write(b) // whatever becomes of it
			l.Close()
			s.saw("random bytes sent")
		}
	}
}

// gossipBomb is a packet of gossip of less than 64 kB that decompresses to
// some 80 MB.
func gossipBomb() ([]byte, error) {
	const size = 80 << 20
	var packed bytes.Buffer
	w := lzw.NewWriter(&packed, lzw.LSB, 8)
	if _, err := w.Write(make([]byte, size)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	const labelled, compressed = 0xF4, 9 // message types of memberlist
	b := append([]byte{labelled, byte(len(clusterName))}, clusterName...)
	b = append(b, compressed)
	b = append(b, "\x82\xa4Algo\x00\xa3Buf"...) // a map of two, as MessagePack
	if packed.Len() > math.MaxUint16-100 {
		return nil, fmt.Errorf("a gossip packet of %d bytes cannot be sent", packed.Len())
	}
	b = binary.BigEndian.AppendUint16(append(b, 0xC5), uint16(packed.Len()))
	return append(b, packed.Bytes()...), nil
}

// bombard sends bombs to a gossip port, by UDP and TCP.
func (s *stage) bombard(ctx context.Context, address string, bomb []byte) {
	const streams = 10
	c, err := net.Dial("udp", address)
	if err != nil {
		return
	}
	defer c.Close()
	for range streams {
		if l, err := dial(attacker, address); err == nil {
			_ = l.SetDeadline(time.Now().Add(time.Second))
			_, _ = l.Write(bomb) // whatever becomes of it
			defer l.Close()
			s.saw("bombs sent by TCP")
		}
	}
	for range 100 {
		if _, err := c.Write(bomb); err == nil {
			s.saw("bombs sent by UDP")
		}
		if !nursery.Sleep(ctx, 20*time.Millisecond) {
			return
		}
	}
}
