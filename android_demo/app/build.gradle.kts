import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "org.kerascnn.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.kerascnn.demo"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }

    androidResources {
        // Models are mapped into memory where they lie in the package.
        noCompress += "tflite"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    testOptions {
        unitTests.isIncludeAndroidResources = true
        // By which Robolectric closes files.
        unitTests.all { it.jvmArgs("--add-opens=java.base/java.io=ALL-UNNAMED") }
    }
}

kotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_17
    }
}

dependencies {
    implementation(libs.tensorflow.lite)
    implementation(libs.tensorflow.lite.gpu)
    // Classes that the GPU delegate needs and no longer carries; this one's own API is older.
    implementation(libs.tensorflow.lite.gpu.api) { isTransitive = false }
    testImplementation(libs.junit)
    testImplementation(libs.robolectric)
}
