# The sidecar as an image. Three stages, so that what runs has neither the compiler nor the development
# dependencies: `build` makes dist/, `production` installs what runs, the last takes both.
# Not Alpine: hyperdht's native parts need glibc 2.33 or newer.

# One exact version; `--build-arg NODE_IMAGE=node@sha256:…` takes one by its digest.
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
# --ignore-scripts: the only install script fetches another copy of Node, which this image already is.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY sidecar ./sidecar
RUN npm run build

FROM ${NODE_IMAGE} AS production
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && npm cache clean --force

FROM ${NODE_IMAGE}
ENV NODE_ENV=production
WORKDIR /app
# A volume mounted here comes up writable for the user below: SIDECAR_STATE_DIR=/var/lib/dht-sidecar keeps the
# worker's identity and its last view of the mesh over a restart.
RUN install -d -o node -g node /var/lib/dht-sidecar
COPY --from=production /app/node_modules ./node_modules
COPY --from=build /build/dist ./dist
COPY package.json LICENSE ./
COPY deploy/healthcheck.mjs ./deploy/
USER node
# outbound (apps), inbound (peers), admin
EXPOSE 8010 8000 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["node", "/app/deploy/healthcheck.mjs"]
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["run"]
