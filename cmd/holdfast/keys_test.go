package main

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseKeys(t *testing.T) {
	key := func(n int, fill byte) []byte { return []byte(strings.Repeat(string(rune(fill)), n)) }
	file := "# gossip keys, the newest first\n\n" +
		base64.StdEncoding.EncodeToString(key(32, 'a')) + "\r\n" +
		"  " + hex.EncodeToString(key(16, 'b')) + "  \n" +
		strings.ToUpper(hex.EncodeToString(key(24, 'k'))) + "\n" +
		base64.RawURLEncoding.EncodeToString(key(16, 0x7f)) // and no end of line
	keys, err := parseKeys([]byte(file))
	require.NoError(t, err)
	require.Equal(t, [][]byte{key(32, 'a'), key(16, 'b'), key(24, 'k'), key(16, 0x7f)}, keys)
}

func TestParseKeysRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for text, says := range map[string]string{
		"":                                   "no key",
		"# only\n\n":                         "no key",
		good + "\nsecret-password":           "line 2",
		hex.EncodeToString(make([]byte, 20)): "line 1",
		base64.StdEncoding.EncodeToString(make([]byte, 33)):      "line 1",
		"\n\n" + good + " " + good:                               "line 3",
		strings.Repeat(hex.EncodeToString(make([]byte, 32)), 40): "16, 24 or 32 bytes",
	} {
		_, err := parseKeys([]byte(text))
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret-password", "what may be a secret is not printed")
	}
}

func TestKeysRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.SampledFrom([]int{16, 24, 32}).Draw(t, "length")
		key := rapid.SliceOfN(rapid.Byte(), length, length).Draw(t, "key")
		for _, text := range []string{hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key)} {
			keys, err := parseKeys([]byte(text))
			if err != nil || len(keys) != 1 || string(keys[0]) != string(key) {
				t.Fatalf("%q gives %x, %v", text, keys, err)
			}
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("# comment\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"))
	f.Add([]byte(hex.EncodeToString(make([]byte, 16))))
	f.Add([]byte("\x00\xff\n\r="))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if err == nil && len(keys) == 0 {
			t.Fatal("neither keys nor an error")
		}
		for _, key := range keys {
			if !validKey(key) {
				t.Fatalf("a key of %d bytes", len(key))
			}
		}
	})
}

// A user who can read a secret knows it, and a user who can write it, or put
// another file in its place, has chosen it.
func TestPrivateFiles(t *testing.T) {
	const text = "0123456789abcdef"
	parent := t.TempDir()
	dir := filepath.Join(parent, "keys")
	require.NoError(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "secret")
	link := filepath.Join(parent, "link") // as secrets are mounted
	require.NoError(t, os.Symlink(path, link))
	write := func(mode os.FileMode, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o640, 0o440} {
		write(mode, text+"\n")
		for _, at := range []string{path, link} {
			secret, err := readSecret(at)
			require.NoError(t, err, "%04o", mode)
			require.Equal(t, text, string(secret))
		}
		require.NoError(t, os.Chmod(path, 0o600))
	}
	readers := map[string]func(string) error{
		"-secret-file":        func(p string) error { _, err := readSecret(p); return err },
		"-gossip-key-file":    func(p string) error { _, err := readGossipKeys(p); return err },
		"-resp-password-file": func(p string) error { _, err := readPassword("resp-password-file", p); return err },
	}
	refused := func(says string) {
		t.Helper()
		for flag, read := range readers {
			for _, at := range []string{path, link} {
				err := read(at)
				require.ErrorContains(t, err, flag+" "+at+": ")
				require.ErrorContains(t, err, says)
				require.ErrorContains(t, err, "chmod")
				require.NotContains(t, err.Error(), text)
			}
		}
	}
	for mode, says := range map[os.FileMode]string{
		0o602: "others can write it (mode 0602)", 0o620: "others can write it (mode 0620)", 0o666: "others can write it (mode 0666)",
		0o604: "everybody on this host can read it (mode 0604)", 0o644: "everybody on this host can read it (mode 0644)",
	} {
		write(mode, text)
		refused(says)
	}

	write(0o600, text)
	require.NoError(t, os.Chmod(dir, 0o777))
	refused("everybody on this host can replace it, for its directory " + dir)
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	_, err := readSecret(path)
	require.NoError(t, err, "in a directory like /tmp only the owner replaces a file")
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, os.Chmod(parent, 0o777))
	_, err = readSecret(link)
	require.ErrorContains(t, err, "its directory "+parent+" is open to all")
	require.NoError(t, os.Chmod(parent, 0o700))

	write(0o600, "too short      \n")
	_, err = readSecret(path)
	require.ErrorContains(t, err, "at least 16")
	write(0o600, strings.Repeat("x", maxKeyFile+1))
	_, err = readGossipKeys(path)
	require.ErrorContains(t, err, "-gossip-key-file")
	_, err = readGossipKeys(t.TempDir())
	require.ErrorContains(t, err, "-gossip-key-file")
}

func TestReadPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte(" open sesame \r\n# not this\n"), 0o600))
	password, err := readPassword("resp-password-file", path)
	require.NoError(t, err)
	require.Equal(t, "open sesame", password)

	require.NoError(t, os.WriteFile(path, []byte("\nsecond"), 0o600))
	_, err = readPassword("resp-password-file", path)
	require.ErrorContains(t, err, "first line is empty")
	require.NotContains(t, err.Error(), "second")
}
