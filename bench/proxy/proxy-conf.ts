/**
 * The configurations of nginx and HAProxy: one process, one thread, as a careful operator sets them up before a
 * service that streams.
 *
 * Keep-alive on both sides without end, nothing logged, nothing written to disk. Request bodies and event streams go on
 * as they come; other responses by nginx's buffers, in which it is faster (10 KB: a quarter less CPU time).
 */

export interface ProxyPorts {
  readonly port: number;
  readonly targetPort: number;
}

export function nginxConf({ port, targetPort }: ProxyPorts, folder: string): string {
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `  ${kind}_temp_path ${folder}/${kind}-${port};`,
  );
  return `daemon off;
master_process off;
worker_processes 1;
error_log stderr warn;
pid ${folder}/nginx-${port}.pid;
events { worker_connections 16384; }
http {
  access_log off;
${temp.join('\n')}
  client_max_body_size 0;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  upstream next {
    server 127.0.0.1:${targetPort};
    keepalive 1024;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_read_timeout 300s;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    location / {
      proxy_pass http://next;
    }
    location /sse/ {
      proxy_pass http://next;
      proxy_buffering off;
    }
  }
}
`;
}

export function haproxyConf({ port, targetPort }: ProxyPorts): string {
  return `global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 300s
frontend front
  bind 127.0.0.1:${port} backlog 4096
  default_backend next
backend next
  server next 127.0.0.1:${targetPort} pool-max-conn 1024 pool-purge-delay 300s
`;
}
