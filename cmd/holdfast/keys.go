package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	// minSecret is the least length of a cookie secret. HMAC keys shorter than
	// 128 bits could be searched for.
	minSecret = 16
	// maxKeyFile bounds what is read of a file named by mistake.
	maxKeyFile = 64 << 10
)

// readGossipKeys returns the keys of a file, see [parseKeys].
func readGossipKeys(path string) ([][]byte, error) {
	data, err := readPrivate("gossip-key-file", path)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("-gossip-key-file %s: %w", path, err)
	}
	return keys, nil
}

// readSecret returns the secret that signs cookies: the bytes of the file
// without the white space around them.
func readSecret(path string) ([]byte, error) {
	data, err := readPrivate("secret-file", path)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimSpace(data)
	if len(secret) < minSecret {
		return nil, fmt.Errorf("-secret-file %s: holds %d bytes, at least %d are needed; head -c 32 /dev/urandom | base64 makes some", path, len(secret), minSecret)
	}
	return secret, nil
}

// readPassword returns the password of a file that a flag names: its first line.
func readPassword(flag, path string) (string, error) {
	data, err := readPrivate(flag, path)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return "", fmt.Errorf("-%s %s: its first line is empty, a password is needed; head -c 32 /dev/urandom | base64 makes one", flag, path)
	}
	return string(line), nil
}

// parseKeys reads one key a line, hexadecimal or base64, of 16, 24 or 32 bytes;
// the first one encrypts, all of them decrypt. Empty lines and those that begin
// with # do not count. Errors name the line, never what stands in it.
//
// Some lines can be read both ways: 32 hexadecimal digits are base64 of 24
// bytes too. Those are taken as hexadecimal, for a random key of 24 bytes has
// such a base64 form once in 10^14.
func parseKeys(data []byte) ([][]byte, error) {
	var keys [][]byte
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := parseKey(string(line))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in it; head -c 32 /dev/urandom | base64 makes one")
	}
	return keys, nil
}

func parseKey(s string) ([]byte, error) {
	key, err := hex.DecodeString(s)
	if err == nil && validKey(key) {
		return key, nil
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err = encoding.DecodeString(s); err == nil && validKey(key) {
			return key, nil
		}
	}
	return nil, errors.New("must be a key of 16, 24 or 32 bytes, in hexadecimal or base64")
}

func validKey(key []byte) bool {
	return len(key) == 16 || len(key) == 24 || len(key) == 32
}

// readPrivate reads a small file that nobody else on this host can read or
// change. A group may read it: that is how secrets are mounted into containers.
func readPrivate(flag, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, fmt.Errorf("-%s %s: %w", flag, path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("-%s %s: is over %d bytes, which no such file needs", flag, path, maxKeyFile)
	}
	return data, nil
}

// checkPrivate refuses a file whose secret other users can read, or can choose:
// by writing it, or by putting another file in its place. Pipes and the like
// have no name that others could use, and Windows keeps rights elsewhere.
func checkPrivate(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() || runtime.GOOS == "windows" {
		return nil
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o022 != 0:
		return fmt.Errorf("others can write it (mode %04o), and so choose the secret; chmod 600 mends it, accepted is up to 0640", mode)
	case mode&0o004 != 0:
		return fmt.Errorf("everybody on this host can read it (mode %04o); chmod 600 mends it, accepted is up to 0640", mode)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(real)} {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return fmt.Errorf("everybody on this host can replace it, for its directory %s is open to all (mode %04o); chmod o-w, or +t as /tmp has it, mends that", dir, info.Mode().Perm())
		}
	}
	return nil
}
