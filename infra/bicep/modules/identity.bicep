// The one identity of the app: it pulls the image, reaches storage, publishes telemetry and reads queue lengths for scaling.
param name string
param location string
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

output principalId string = identity.properties.principalId
