package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/seed-95a32959/holdfast/node"
)

// The cluster of holdfast dev has a gossip key, so that no other user of this
// machine can join it. The user who started dev can start further members by
// hand: dev leaves the key where these look for it, in a directory that only
// its user may enter, one file for the gossip address of each member:
//
//	pid of dev, in decimal | newline | the key as in -gossip-key-file

// devKeys are the files that dev has left.
type devKeys struct {
	dir   string
	files []string
}

func devKeyDir() string {
	return filepath.Join(os.TempDir(), "holdfast-dev-keys-"+strconv.Itoa(os.Getuid()))
}

// devKeyPath is where the key of a member is left that gossips at an address.
func devKeyPath(gossip string) string {
	return filepath.Join(devKeyDir(), strings.NewReplacer(":", "_", "/", "_").Replace(gossip))
}

// leaveDevKeys leaves the key that is in a file.
func leaveDevKeys(keyFile string, members []*member) (*devKeys, error) {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	k := &devKeys{dir: devKeyDir()}
	if err := os.Mkdir(k.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := checkPrivateDir(k.dir); err != nil {
		return nil, err
	}
	content := append([]byte(strconv.Itoa(os.Getpid())+"\n"), key...)
	for _, m := range members {
		path := devKeyPath(m.address(gossipPort))
		// Renamed into place, so that no member reads half of it and no file
		// that was there keeps its mode.
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			k.remove()
			return nil, err
		}
		k.files = append(k.files, path)
		if err := os.Rename(path+".new", path); err != nil {
			k.remove()
			return nil, err
		}
	}
	return k, nil
}

// remove takes the files away, and the directory with them unless another dev
// has some in it.
func (k *devKeys) remove() {
	for _, path := range k.files {
		_ = os.Remove(path) // and what is left is of no use when dev has ended
		_ = os.Remove(path + ".new")
	}
	_ = os.Remove(k.dir)
}

// checkPrivateDir makes sure that a directory in a place where every user may
// make one is this user's, and that no other user can enter it.
func checkPrivateDir(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir() || !ownedByUser(info) || info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is there and is no directory that only this user may enter (mode %04o): remove it", dir, info.Mode().Perm())
	}
	return nil
}

// findDevKey returns the gossip keys of the dev that runs one of the members to
// join, nil if none does. Only members that stay on loopback look.
func findDevKey(place *placeFlags, log *slog.Logger) [][]byte {
	if !onLoopback(string(place.Gossip)) || checkPrivateDir(devKeyDir()) != nil {
		return nil
	}
	for _, seed := range place.Join {
		if !onLoopback(seed) {
			return nil
		}
	}
	for _, seed := range place.Join {
		data, err := os.ReadFile(devKeyPath(seed))
		if err != nil {
			continue
		}
		owner, key, _ := bytes.Cut(data, []byte("\n"))
		pid, err := strconv.Atoi(string(owner))
		if err != nil || !runs(pid) {
			continue // it was killed
		}
		if keys, err := parseKeys(key); err == nil {
			log.Info("no -gossip-key-file was given: using the key of the holdfast dev that runs the member to join", "join", seed, "dev", pid)
			return keys
		}
	}
	return nil
}

// runs says whether a process of this user runs.
func runs(pid int) bool {
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// gossipKeys returns the keys that the flags name, or those of a dev.
func (f *memberFlags) gossipKeys(role node.Role, place *placeFlags, log *slog.Logger) ([][]byte, error) {
	if f.GossipKeyFile == "" {
		return findDevKey(place, log), nil
	}
	keys, err := readGossipKeys(f.GossipKeyFile)
	if err != nil {
		return nil, badFile(role, err)
	}
	return keys, nil
}
