// http2 URL CA CONNECTIONS STREAMS MOST: requests by golang.org/x/net/http2, on connections that are never made again, until
// standard input ends. The first connection has MOST streams at once, the others STREAMS. Prints figures as JSON.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

var (
	base     = os.Args[1]
	large    = bytes.Repeat([]byte("g"), 100_000)
	isOver   atomic.Bool
	requests atomic.Int64
	failed   atomic.Int64
	goaway   atomic.Int64
	mutex    sync.Mutex
	trouble  = []string{}
)

func wrong(err error) {
	failed.Add(1)
	mutex.Lock()
	defer mutex.Unlock()
	trouble = append(trouble, err.Error())
}

func connect() (*http2.ClientConn, error) {
	parsed, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", parsed.Host)
	if err != nil {
		return nil, err
	}
	if parsed.Scheme == "https" {
		pem, err := os.ReadFile(os.Args[2])
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"}})
	}
	return (&http2.Transport{AllowHTTP: true, DisableCompression: true}).NewClientConn(conn)
}

func ask(conn *http2.ClientConn) error {
	method, path, body := "GET", "/pid", []byte(nil)
	if rand.Intn(4) == 0 {
		method, path, body = "POST", "/echo", large
	}
	request, err := http.NewRequest(method, base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := conn.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != 200 || body != nil && !bytes.Equal(read, body) {
		return fmt.Errorf("%s is answered %d with %d bytes", path, response.StatusCode, len(read))
	}
	return nil
}

func main() {
	connections, _ := strconv.Atoi(os.Args[3])
	streams, _ := strconv.Atoi(os.Args[4])
	most, _ := strconv.Atoi(os.Args[5])
	var workers sync.WaitGroup
	for at := 0; at < connections; at++ {
		conn, err := connect()
		if err != nil {
			wrong(err)
			continue
		}
		count := streams
		if at == 0 {
			count = most
		}
		for stream := 0; stream < count; stream++ {
			workers.Add(1)
			go func() {
				defer workers.Done()
				for !isOver.Load() {
					if err := ask(conn); err != nil {
						wrong(err)
						if !conn.CanTakeNewRequest() {
							goaway.Add(1)
							return
						}
					}
					requests.Add(1)
					time.Sleep(time.Duration(rand.Intn(40)) * time.Millisecond)
				}
			}()
		}
	}
	io.Copy(io.Discard, os.Stdin)
	isOver.Store(true)
	workers.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"connections": connections, "requests": requests.Load(), "failed": failed.Load(), "goaway": goaway.Load(),
		"trouble": trouble,
	})
}
