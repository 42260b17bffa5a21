# For unicorn, and any other Rack server.
run lambda { |env|
  body = case env['PATH_INFO']
         when '/pid' then Process.pid.to_s
         when '/generation' then ENV.fetch('SERVER_STARTER_GENERATION', '0')
         else 'Hello from unicorn'
         end
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => body.bytesize.to_s }, [body]]
}
